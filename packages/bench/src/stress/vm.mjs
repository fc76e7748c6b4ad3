import { MicroConsole } from '@varve/lab'
import { takeSnapshot } from 'varve'
import { changeContent, contentTag, verifyContent } from './content.mjs'
import { disposing } from './disposing.mjs'

/** One micro guest of this worker: the current handle, its console, and what its memory must hold. */
export class Vm {
  machine
  console
  content
  /**
   * Positions in the ledger before it was made and after its first answer: an event in between may show
   * later.
   */
  begun
  ready = Infinity

  constructor(machine, content, begun, console = MicroConsole.attach(machine.paths)) {
    this.machine = machine
    this.content = content
    this.begun = begun
    this.console = console
  }

  get id() {
    return this.machine.id
  }
  get identity() {
    return this.machine.identity
  }

  /** An answer of the guest, or the reason why the VM ended, if that comes first. */
  async answer(work) {
    const ended = this.machine.exited.then(async () => {
      throw await this.machine.exitedError()
    })
    ended.catch(() => {})
    work.catch(() => {})
    return await Promise.race([work, ended])
  }

  verify(random) {
    return this.answer(verifyContent(this.console, this.content, random))
  }

  async change(random) {
    this.content = await this.answer(changeContent(this.console, this.content, random))
  }

  async resume() {
    if (this.machine.state === 'paused') this.machine = await this.machine.resume()
  }

  /**
   * As `varve snapshot create` does it: the guest goes on before the layer is sealed. `name` is called with
   * the tag before anything is written, and with the snapshot's id after it.
   */
  async capture(store, { full, unique, begin, named }) {
    const parent = full ? undefined : (this.machine.snapshotId ?? undefined)
    const tag = contentTag(this.content, unique)
    if (this.machine.state === 'running') this.machine = await this.machine.pause()
    let taken
    try {
      taken = await takeSnapshot(this.machine, { store, ...(full ? { base: 'Full' } : { parent }) })
    } finally {
      await this.resume()
    }
    await disposing(taken, async () => {
      begin()
      const { entry } = await taken.seal({ tags: [tag] })
      named(entry.id, [tag])
    })
    return { tag, type: taken.type, parent: parent?.slice(0, 8) ?? null }
  }

  async stop() {
    await this.console[Symbol.asyncDispose]()
    await this.machine.stop()
  }

  async detach() {
    await this.console[Symbol.asyncDispose]()
    this.machine.detach()
  }
}
