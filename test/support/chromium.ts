import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { aptInstall } from '@varve/lab'

const binary = '/usr/bin/chromium'

/** Debian's Chromium, installed if it is not there yet; that takes root and up to some minutes. */
async function chromium(): Promise<string> {
  if (!existsSync(binary)) await aptInstall(['chromium'], { onProgress: (text) => console.error(text) })
  return binary
}

/**
 * Nothing that talks to other hosts, and no GPU to look for. As root it needs --no-sandbox; it
 * only ever opens our own files.
 */
const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
]

interface Answer {
  readonly id?: number
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: { readonly message: string }
}

/**
 * One page of a headless Chromium, driven by the DevTools protocol over a pipe: JSON
 * messages, each ended by a zero byte.
 */
export class Page implements AsyncDisposable {
  /** URLs that the page asked for, and what went wrong in it. */
  readonly requests: string[] = []
  readonly complaints: string[] = []
  readonly #child: ChildProcess
  readonly #profile: string
  readonly #waiting = new Map<number, { resolve: (it: Answer) => void; reject: (error: Error) => void }>()
  readonly #events = new Map<string, () => void>()
  #lastId = 0
  #session: string | undefined

  private constructor(child: ChildProcess, profile: string) {
    this.#child = child
    this.#profile = profile
    let rest = ''
    ;(child.stdio[4] as Readable).setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\0')
      rest = parts.pop() ?? ''
      for (const part of parts) this.#take(JSON.parse(part) as Answer)
    })
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('Chromium ended'))
    })
  }

  static async open(): Promise<Page> {
    const profile = mkdtempSync(join(tmpdir(), 'varve-chromium-'))
    const child = spawn(await chromium(), [...flags, `--user-data-dir=${profile}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    })
    const page = new Page(child, profile)
    const { targetId } = (await page.call('Target.createTarget', { url: 'about:blank' })) as {
      targetId: string
    }
    const attached = await page.call('Target.attachToTarget', { targetId, flatten: true })
    page.#session = attached.sessionId as string
    for (const domain of ['Page', 'Network', 'Log', 'Runtime']) await page.call(`${domain}.enable`)
    return page
  }

  /** Shows a file at a width, by day or by night. */
  async show(
    url: string,
    { width, dark }: { readonly width: number; readonly dark: boolean },
  ): Promise<void> {
    const value = dark ? 'dark' : 'light'
    await this.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] })
    await this.call('Emulation.setDeviceMetricsOverride', {
      width,
      height: 900,
      deviceScaleFactor: 1,
      mobile: width < 600,
    })
    const loaded = new Promise<void>((resolve) => this.#events.set('Page.loadEventFired', resolve))
    await this.call('Page.navigate', { url })
    await loaded
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', {
      expression,
      returnByValue: true,
    })
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
    return (result as { value: T }).value
  }

  /** The whole page, as PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.call('Page.captureScreenshot', { captureBeyondViewport: true })
    return Buffer.from(data as string, 'base64')
  }

  async call(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
  ): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.#lastId
    const answer = new Promise<Answer>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    const session = this.#session === undefined ? {} : { sessionId: this.#session }
    ;(this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`)
    const { result = {}, error } = await answer
    if (error !== undefined) throw new Error(`${method}: ${error.message}`)
    return result
  }

  #take(answer: Answer): void {
    const { id, method = '', params = {} } = answer
    if (id !== undefined) {
      this.#waiting.get(id)?.resolve(answer)
      this.#waiting.delete(id)
      return
    }
    if (method === 'Network.requestWillBeSent')
      this.requests.push((params.request as { readonly url: string }).url)
    if (method === 'Log.entryAdded' || method === 'Runtime.exceptionThrown')
      this.complaints.push(JSON.stringify(params))
    this.#events.get(method)?.()
    this.#events.delete(method)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    // Asked to, it ends its helpers first; killed, they would still write into its profile for a while.
    this.#session = undefined
    await this.call('Browser.close').catch(() => this.#child.kill('SIGKILL'))
    await ended
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 20 })
  }
}
