import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What `npm publish` sends: the packument of one version, with its tarball. */
interface Publication {
  readonly name: string
  readonly versions: Readonly<Record<string, { readonly dist: { tarball: string } }>>
  readonly 'dist-tags': Readonly<Record<string, string>>
  readonly _attachments: Readonly<Record<string, { readonly data: string }>>
}

export interface NpmRegistry extends AsyncDisposable {
  readonly url: string
  /** The environment in which npm publishes here, and installs from here. */
  readonly env: Readonly<Record<string, string>>
  /** The published tarball of a package. */
  tarball(name: string): Buffer
}

/**
 * An npm registry on loopback that keeps what is published to it in memory. It sends requests for other
 * packages on to `upstream`.
 */
export async function npmRegistry(upstream: string): Promise<NpmRegistry> {
  const packages = new Map<string, { document: unknown; tarball: Buffer }>()
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://registry').pathname).slice(1)
    const [name = '', file] = path.split('/-/')
    const known = packages.get(name)
    if (request.method === 'PUT') {
      if (known !== undefined) return response.writeHead(409).end('{"error":"published already"}')
      packages.set(name, published(JSON.parse(await textOf(request)), url()))
      return response.writeHead(201).end('{}')
    }
    if (known !== undefined)
      return response.end(file === undefined ? JSON.stringify(known.document) : known.tarball)
    // Ours are never looked for elsewhere.
    if (/^(varve$|@varve\/)/.test(name)) return response.writeHead(404).end('{"error":"not found"}')
    return response.writeHead(302, { location: new URL(request.url?.slice(1) ?? '', upstream).href }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    url: url(),
    env: {
      npm_config_registry: url(),
      'npm_config_@varve:registry': url(),
      [`npm_config_${url().slice('http:'.length)}:_authToken`]: 'any',
    },
    tarball(name) {
      const known = packages.get(name)
      if (known === undefined) throw new Error(`${name} was not published`)
      return known.tarball
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function published(sent: Publication, url: string): { document: unknown; tarball: Buffer } {
  const { _attachments: attachments, ...document } = sent
  const [data] = Object.values(attachments)
  if (data === undefined) throw new Error(`${sent.name} was published without a tarball`)
  for (const version of Object.values(document.versions))
    version.dist.tarball = `${url}${sent.name}/-/package.tgz`
  return { document, tarball: Buffer.from(data.data, 'base64') }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
