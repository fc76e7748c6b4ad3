import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { runTool, unpackedPackages } from '@varve/guest/testing'

export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /**
   * Pushes an image of an OCI layout, with skopeo; gives its name in this registry, for `varve guest build`.
   */
  push(layout: string, tag: string): Promise<string>
  /** Removes the blobs that no manifest names, and the manifests that no tag names. */
  collectGarbage(): Promise<void>
}

/**
 * The registry of Docker, from Debian's package, with its data in a folder that goes with it. Without
 * `deletes`, it answers 405 to DELETE, which is its default.
 */
export async function startDockerRegistry({ deletes = true } = {}): Promise<DockerRegistry> {
  const program = await unpackedPackages('docker-registry', async () => ['docker-registry'])
  const directory = mkdtempSync(join(tmpdir(), 'varve-registry-'))
  const config = join(directory, 'config.json')
  // Port 0: the system chooses one, and the registry says which. JSON is YAML.
  const settings = {
    version: 0.1,
    log: { level: 'info', formatter: 'json' },
    storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: deletes } },
    http: { addr: '127.0.0.1:0', secret: 'of one process' },
  }
  writeFileSync(config, JSON.stringify(settings), { mode: 0o600 })
  const child = spawn(join(program, 'usr/bin/docker-registry'), ['serve', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = once(child, 'close')
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(directory, { recursive: true })
  }
  const said: string[] = []
  let host: string | undefined
  for await (const line of createInterface(child.stderr)) {
    said.push(line)
    host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1]
    if (host !== undefined) break
  }
  if (host === undefined) {
    await stop()
    throw new Error(`the registry did not start: ${said.join('\n')}`)
  }
  // It logs each request, and would wait when the pipe is full.
  child.stderr.resume()
  return {
    host,
    push: async (layout, tag) => {
      const name = `${host}/test/${tag}:1`
      await runTool(
        'skopeo',
        ['copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:${tag}`, `docker://${name}`],
        { package: 'skopeo' },
      )
      return name
    },
    collectGarbage: async () => {
      await runTool(join(program, 'usr/bin/docker-registry'), [
        'garbage-collect',
        '--delete-untagged',
        config,
      ])
    },
    [Symbol.asyncDispose]: stop,
  }
}
