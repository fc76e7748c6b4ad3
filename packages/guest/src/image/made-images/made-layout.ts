import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { hostArchitecture } from '../image-config.js'

export interface MadeLayer {
  readonly tar: Buffer
  /** Default: gzip. */
  readonly pack?: (tar: Buffer) => Buffer
  /** Default: that of `tar`. */
  readonly diffId?: string
}

export interface MadeImage {
  readonly layers: readonly MadeLayer[]
  readonly tag?: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly architecture?: string
  /** Put the manifest into an index of its platform's. Default false. */
  readonly nested?: boolean
}

const sha256 = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Writes an OCI layout for tests into a new folder. */
export function writeMadeLayout(directory: string, images: readonly MadeImage[]): void {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true })
  const put = (bytes: Buffer, mediaType: string) => {
    const digest = sha256(bytes)
    writeFileSync(join(directory, 'blobs/sha256', digest.slice(7)), bytes)
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest, size: bytes.length }
  }
  const putJson = (value: unknown, mediaType: string) => put(Buffer.from(JSON.stringify(value)), mediaType)
  const manifests = images.map(({ layers, tag, config, nested = false, ...image }) => {
    const { architecture = hostArchitecture() } = image
    const packed = layers.map(({ tar, pack = gzipSync }) => put(pack(tar), 'layer.v1.tar+gzip'))
    const configuration = putJson(
      {
        architecture,
        os: 'linux',
        config,
        rootfs: { type: 'layers', diff_ids: layers.map(({ tar, diffId }) => diffId ?? sha256(tar)) },
      },
      'config.v1+json',
    )
    const manifest = putJson({ schemaVersion: 2, config: configuration, layers: packed }, 'manifest.v1+json')
    const listed = nested
      ? putJson(
          {
            schemaVersion: 2,
            manifests: [
              {
                ...manifest,
                digest: sha256(Buffer.from('of another processor')),
                platform: { os: 'linux', architecture: 's390x' },
              },
              { ...manifest, platform: { os: 'linux', architecture } },
            ],
          },
          'index.v1+json',
        )
      : manifest
    return {
      ...listed,
      ...(tag === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': tag } }),
    }
  })
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
}
