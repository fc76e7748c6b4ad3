import { VarveError } from 'varve'

/** Where an image comes from, as `varve guest build` is told it. */
export type ImageSource =
  | { readonly kind: 'oci'; readonly directory: string; readonly tag: string | undefined }
  | { readonly kind: 'oci-archive'; readonly file: string; readonly tag: string | undefined }
  | { readonly kind: 'docker-archive'; readonly file: string; readonly name: string | undefined }
  | { readonly kind: 'debian'; readonly suite: string; readonly packages: readonly string[] }
  | { readonly kind: 'registry'; readonly reference: string }

/** Debian policy 5.6.1. */
const packageName = /^[a-z0-9][a-z0-9+.-]+$/
const suiteName = /^[a-z][a-z0-9-]{1,31}$/
/** Tags and names of the OCI distribution specification; the parts that skopeo reads otherwise stay out. */
const registryReference =
  /^[a-zA-Z0-9][a-zA-Z0-9._-]*(?::\d{1,5})?(?:\/[a-z0-9][a-z0-9._-]*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/

export const imageForms =
  'oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], debian:SUITE[+PACKAGE…] or REGISTRY/NAME:TAG'

/** INVALID_ARGUMENT if the text is none of `imageForms`. */
export function parseImageSource(text: string): ImageSource {
  const [, scheme = '', rest = ''] = /^(oci|oci-archive|docker-archive|debian|docker):(.*)$/s.exec(text) ?? []
  const invalid = (what: string) =>
    new VarveError('INVALID_ARGUMENT', `the image ${JSON.stringify(text)} ${what}`, {
      remedy: `give ${imageForms}`,
    })
  switch (scheme) {
    case 'oci':
    case 'oci-archive':
    case 'docker-archive': {
      const { path, after } = splitPath(rest)
      if (path === '' || path.includes('\0')) throw invalid('names no path')
      if (scheme === 'oci') return { kind: scheme, directory: path, tag: after }
      if (scheme === 'oci-archive') return { kind: scheme, file: path, tag: after }
      return { kind: scheme, file: path, name: after }
    }
    case 'debian': {
      const [suite = '', ...packages] = rest.split('+')
      // A package's name can end in plus signs (g++).
      const names = joinPluses(packages)
      if (!suiteName.test(suite)) throw invalid('names no suite of Debian')
      const odd = names.find((it) => !packageName.test(it))
      if (odd !== undefined) throw invalid(`has ${JSON.stringify(odd)} for a package’s name`)
      return { kind: scheme, suite, packages: names }
    }
    default: {
      const reference = scheme === 'docker' ? rest.replace(/^\/\//, '') : text
      if (!registryReference.test(reference)) throw invalid('is no reference to an image')
      return { kind: 'registry', reference }
    }
  }
}

/** What follows the first colon is a tag, or the name of an image, which has colons itself. */
function splitPath(text: string): { readonly path: string; readonly after: string | undefined } {
  const at = text.indexOf(':')
  return at < 0
    ? { path: text, after: undefined }
    : { path: text.slice(0, at), after: text.slice(at + 1) || undefined }
}

/** `debian:bookworm+g+++make` → g++, make: an empty part is a plus sign of the one before. */
function joinPluses(parts: readonly string[]): string[] {
  const names: string[] = []
  for (const part of parts)
    if (part === '' && names.length > 0) names.push(`${names.pop()}+`)
    else names.push(part)
  return names
}
