import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { pages, root } from './markdown.js'

/**
 * Pages whose code readers copy: every ts and js block in them must compile against
 * the packages as they are built.
 */
const checked = /^(README|CONTRIBUTING)\.md$|^packages\/|^docs\/(index|guides\/)/
const given = join(root, 'test/docs/given.d.ts')
const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile)
const { options: base } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
const options: ts.CompilerOptions = {
  ...base,
  // Of tsconfig.base.json, what is about output and about tidy sources does not matter in an example.
  ...{ composite: false, declaration: false, noEmit: true, skipLibCheck: true, sourceMap: false },
  ...{ noUnusedLocals: false, noUnusedParameters: false, verbatimModuleSyntax: false },
  ...{ allowJs: true, checkJs: true, noImplicitAny: false },
}

const doors = ['varve', '@varve/guest', '@varve/remote', '@varve/lab'].flatMap((name) => {
  const { exports } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')) as {
    exports: Record<string, { types?: string } | string>
  }
  return Object.entries(exports)
    .filter(([, to]) => typeof to === 'object' && to.types !== undefined)
    .map(([door]) => `${name}${door.slice(1)}`)
})

test('the code of README and guides compiles', () => {
  const sources = new Map<string, { text: string; at: string; before: number }>()
  for (const { path, blocks } of pages().filter((page) => checked.test(page.path)))
    for (const { language, line, text } of blocks)
      if (['ts', 'js', 'mjs'].includes(language)) {
        const file = join(
          root,
          'test/docs',
          `${path.replaceAll('/', '-')}-${line}.${language === 'ts' ? 'mts' : 'mjs'}`,
        )
        sources.set(file, { text, at: path, before: line })
      }
  expect(sources.size).toBeGreaterThan(10)

  const exported = exportsOfDoors()
  const text = (file: string) => {
    const source = sources.get(file)
    return source === undefined ? undefined : source.text + imports(source.text, exported)
  }
  const host = hostWith(text)
  const program = ts.createProgram([given, ...sources.keys()], options, host)
  const wrong = ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const source = file === undefined ? undefined : sources.get(file.fileName)
    const text = ts.flattenDiagnosticMessageText(messageText, '\n')
    if (file === undefined || source === undefined) return `${file?.fileName ?? ''}: ${text}`
    return `${source.at}:${source.before + file.getLineAndCharacterOfPosition(start).line + 1}: ${text}`
  })
  expect(wrong).toEqual([])
}, 60_000)

const parsed = new Map<string, ts.SourceFile | undefined>()

/** Reads files of its own from `text`; parses every other one once for all programs. */
function hostWith(text: (file: string) => string | undefined): ts.CompilerHost {
  const host = ts.createCompilerHost(options)
  const read = host.getSourceFile.bind(host)
  host.fileExists = (file) => text(file) !== undefined || existsSync(file)
  host.getSourceFile = (file, languageOrOptions, ...rest) => {
    const own = text(file)
    if (own !== undefined) return ts.createSourceFile(file, own, languageOrOptions, true)
    if (!parsed.has(file)) parsed.set(file, read(file, languageOrOptions, ...rest))
    return parsed.get(file)
  }
  return host
}

/** Which door exports a name; of several, the first. */
function exportsOfDoors(): ReadonlyMap<string, string> {
  const file = join(root, 'test/docs/doors.mts')
  const text = doors.map((door, n) => `import * as door${n} from '${door}'`).join('\n')
  const program = ts.createProgram(
    [file],
    options,
    hostWith((name) => (name === file ? text : undefined)),
  )
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(file) as ts.SourceFile
  const found = new Map<string, string>()
  for (const [n, statement] of source.statements.entries()) {
    const door = (statement as ts.ImportDeclaration).moduleSpecifier
    const symbol = checker.getSymbolAtLocation(door)
    if (symbol === undefined) throw new Error(`${doors[n]} is not built`)
    for (const { name } of checker.getExportsOfModule(symbol))
      if (!found.has(name)) found.set(name, doors[n] as string)
  }
  return found
}

/** A block may leave out the imports; names that it neither imports nor declares come from the packages. */
function imports(text: string, exported: ReadonlyMap<string, string>): string {
  const used = new Set<string>()
  const own = new Set<string>()
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const { parent } = node
      const isDeclared =
        (ts.isVariableDeclaration(parent) ||
          ts.isBindingElement(parent) ||
          ts.isFunctionDeclaration(parent) ||
          ts.isParameter(parent) ||
          ts.isImportSpecifier(parent)) &&
        parent.name === node
      const isMember =
        (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
        (ts.isPropertyAssignment(parent) && parent.name === node) ||
        (ts.isBindingElement(parent) && parent.propertyName === node)
      if (isDeclared) own.add(node.text)
      else if (!isMember) used.add(node.text)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile('block.mts', text, ts.ScriptTarget.ESNext, true))
  const needed = [...used].filter((name) => exported.has(name) && !own.has(name))
  // Behind the block, so that its lines keep their numbers.
  const lines = needed.map((name) => `import { ${name} } from '${exported.get(name)}'`)
  return `\n${lines.join('\n')}\nexport {}\n`
}
