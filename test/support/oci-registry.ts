import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

export interface OciRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
}

/** Serves the images of an OCI layout, by their tags, as the repository `test` of a registry on loopback. */
export async function serveOciLayout(directory: string): Promise<OciRegistry> {
  const { manifests } = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8')) as {
    manifests: { digest: string; mediaType: string; annotations?: Record<string, string> }[]
  }
  const server = createServer((request, response) => {
    const [, kind, name = ''] = /^\/v2\/test\/(manifests|blobs)\/([\w.:-]+)$/.exec(request.url ?? '') ?? []
    const listed = manifests.find((it) => it.annotations?.['org.opencontainers.image.ref.name'] === name)
    const digest = kind === 'manifests' ? (listed?.digest ?? name) : name
    try {
      if (request.url === '/v2/') return void response.end('{}')
      if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw new Error(digest)
      const bytes = readFileSync(join(directory, 'blobs/sha256', digest.slice('sha256:'.length)))
      const type = kind === 'manifests' ? { 'content-type': listed?.mediaType ?? manifestType } : {}
      response.writeHead(200, { ...type, 'docker-content-digest': digest, 'content-length': bytes.length })
      response.end(request.method === 'HEAD' ? undefined : bytes)
    } catch {
      response.writeHead(404).end('{}')
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
