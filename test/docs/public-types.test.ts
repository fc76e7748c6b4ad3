import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { root } from './markdown.js'

// What a program can import and an editor shows: each name lies behind one door, and each name, member and
// parameter says what it is. `testing` promises nothing to users.
const packages = ['varve', '@varve/remote']
const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile)
const { options } = ts.convertCompilerOptionsFromJson({ ...config.compilerOptions, composite: false }, root)
const doors = packages.flatMap((name) => {
  const folder = join(root, 'node_modules', name)
  const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    exports: Record<string, { types: string }>
  }
  return Object.entries(exports)
    .filter(([door]) => door !== './testing')
    .map(([door, { types }]) => ({
      door: `${name}${door.slice(1)}`,
      file: ts.sys.realpath?.(join(folder, types)) as string,
    }))
})
const program = ts.createProgram(
  doors.map(({ file }) => file),
  options,
)
const checker = program.getTypeChecker()
const ownFolders = doors.map(({ file }) => `${dirname(file)}/`)

const isOwn = (node: ts.Node): boolean =>
  ownFolders.some((folder) => node.getSourceFile().fileName.startsWith(folder))
const textOf = (parts: ts.SymbolDisplayPart[]): string => ts.displayPartsToString(parts).trim()

function exportsOf(file: string): readonly ts.Symbol[] {
  const module = symbolAt(program.getSourceFile(file) as ts.Node)
  return checker
    .getExportsOfModule(module)
    .map((it) => (it.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(it) : it))
}

const symbolAt = (node: ts.Node): ts.Symbol => checker.getSymbolAtLocation(node) as ts.Symbol
const commentOf = (symbol: ts.Symbol): string =>
  [
    textOf(symbol.getDocumentationComment(checker)),
    ...symbol.getJsDocTags(checker).map((it) => textOf(it.text ?? [])),
  ]
    .join(' ')
    .trim()

/** What of `symbol`, called `name`, has no comment. */
function* undocumented(symbol: ts.Symbol, name: string): Generator<string> {
  const own = (symbol.declarations ?? []).filter(isOwn)
  // The namespace `api` has Firecracker's own names, which its documents explain.
  if (own.length === 0 || own.some(ts.isSourceFile)) return
  const at = `${relative(root, own[0]?.getSourceFile().fileName ?? '')}: ${name}`
  if (commentOf(symbol) === '') yield at
  for (const declaration of own) {
    if (ts.isInterfaceDeclaration(declaration) || ts.isClassDeclaration(declaration))
      yield* ofMembers(declaration.members, name)
    if (ts.isTypeAliasDeclaration(declaration)) yield* ofType(declaration.type, name)
    if (
      (ts.isPropertySignature(declaration) || ts.isPropertyDeclaration(declaration)) &&
      declaration.type !== undefined
    )
      yield* ofType(declaration.type, name)
    const signature = signatureOf(declaration)
    if (signature !== undefined) yield* ofParameters(signature, symbol, name, at)
  }
}

function* ofMembers(
  members: ts.NodeArray<ts.ClassElement | ts.TypeElement>,
  name: string,
): Generator<string> {
  for (const member of members) {
    const isHidden =
      ts.canHaveModifiers(member) &&
      ts
        .getModifiers(member)
        ?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword || kind === ts.SyntaxKind.ProtectedKeyword)
    if (
      isHidden ||
      member.name === undefined ||
      ts.isPrivateIdentifier(member.name) ||
      ts.isComputedPropertyName(member.name)
    )
      continue
    // Within a type that is written out, it means what it means in every call.
    if (name.endsWith('(…)') && member.name.getText() === 'signal') continue
    if (ts.isClassDeclaration(member.parent) && isOfInterface(member.parent, member.name.getText())) continue
    yield* undocumented(symbolAt(member.name), `${name}.${member.name.getText()}`)
  }
}

/** Whether an interface that a class implements has the member, and so its comment. */
const isOfInterface = ({ heritageClauses }: ts.ClassDeclaration, member: string): boolean =>
  [...(heritageClauses ?? [])]
    .flatMap(({ types }) => types)
    .some((type) => checker.getTypeAtLocation(type).getProperty(member) !== undefined)

/** The members of object types that are written out within a type. */
function* ofType(type: ts.TypeNode, name: string): Generator<string> {
  if (ts.isTypeLiteralNode(type)) yield* ofMembers(type.members, name)
  else if (ts.isUnionTypeNode(type) || ts.isIntersectionTypeNode(type))
    for (const it of type.types) yield* ofType(it, name)
  else if (ts.isArrayTypeNode(type)) yield* ofType(type.elementType, name)
  else if (ts.isTypeOperatorNode(type) || ts.isParenthesizedTypeNode(type)) yield* ofType(type.type, name)
  else if (ts.isTypeReferenceNode(type)) for (const it of type.typeArguments ?? []) yield* ofType(it, name)
}

/** A function, a method, or a constant or property that holds a function. */
function signatureOf(declaration: ts.Declaration): ts.SignatureDeclaration | undefined {
  if (ts.isFunctionLike(declaration)) return declaration
  const { type } = declaration as ts.PropertySignature
  return type !== undefined && ts.isFunctionTypeNode(type) ? type : undefined
}

/**
 * Parameters of plain types: if there are several, the comment of the function or of its interface must name
 * each. (One alone is what the comment is about.)
 */
function* ofParameters(
  { parameters, parent }: ts.SignatureDeclaration,
  symbol: ts.Symbol,
  name: string,
  at: string,
): Generator<string> {
  const text = `${commentOf(symbol)} ${ts.isInterfaceDeclaration(parent) ? commentOf(symbolAt(parent.name)) : ''}`
  const plain: string[] = []
  for (const { name: parameter, type } of parameters) {
    if (type === undefined) continue
    yield* ofType(type, `${name}(…)`)
    const named = checker.getTypeFromTypeNode(type)
    const isOurs = [named.aliasSymbol, named.symbol].some((it) => it?.declarations?.some(isOwn))
    // Options put together of several types, whose members have comments.
    if (ts.isIdentifier(parameter) && !isOurs && !named.isIntersection()) plain.push(parameter.text)
  }
  if (plain.length < 2) return
  for (const it of plain) if (!new RegExp(`\\b${it}\\b`).test(text)) yield `${at}(${it})`
}

test('each public name lies behind one door', () => {
  const places = new Map<string, string>()
  const twice: string[] = []
  for (const { door, file } of doors)
    for (const { name } of exportsOf(file)) {
      if (places.has(name)) twice.push(`${name}: ${places.get(name)} and ${door}`)
      places.set(name, door)
    }
  expect(places.size).toBeGreaterThan(200)
  expect(twice).toEqual([])
})

test('each public name, member and parameter has a comment', () => {
  expect(
    doors.flatMap(({ file }) => exportsOf(file).flatMap((it) => [...undocumented(it, it.name)])),
  ).toEqual([])
}, 60_000)
