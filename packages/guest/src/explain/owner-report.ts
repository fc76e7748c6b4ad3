import { brokenReport } from './broken-report.js'
import { maxLineBytes, maxOwners, maxProcesses, maxReportBytes } from './explain-limits.js'
import { Pace } from './pace.js'

/** A process of the guest. */
export interface GuestProcess {
  readonly pid: number
  /** As the kernel has it: at most 15 bytes of the program's name. */
  readonly name: string
}

/** A run of frames that belong to the process's mapping, or to the file, that was told last. */
export interface ReportedRun {
  readonly frame: number
  readonly count: number
  /** Pages of a file, or of shared memory; else the process's own. */
  readonly ofFile: boolean
}

/** What a report is made of, told in its order. */
export interface OwnerReportReader {
  process(process: GuestProcess & { readonly asks: boolean }): void
  /** A mapping of the last process. `path` is empty for anonymous memory. */
  mapping(mapping: { readonly path: string }): void
  /** A file with pages in the page cache. */
  file(file: { readonly path: string }): void
  run(run: ReportedRun): void
}

/** What the agent says at the end. */
export interface OwnerReportEnd {
  readonly processes: number
  readonly files: number
  /** Mappings and files that were too large to look at, and files behind the most. */
  readonly skipped: number
}

const head = 'page-owners 1'
/** About what a line takes, in those of a page. */
const stepsOfLine = 100
const mapForm =
  /^map [0-9a-f]{1,16} [0-9a-f]{1,16} [-rwxps]{4} [0-9a-f]{1,16} [0-9a-f]{1,8}:[0-9a-f]{1,8} \d{1,20} (.*)$/
const runForm = /^run [0-9a-f]{1,13} ([0-9a-f]{1,13}) ([0-9a-f]{1,8}) ([fa])$/

/**
 * Reads the report of the agent (docs/formats/page-owners.md), which a guest may fill with anything.
 * GUEST_PROTOCOL for a report of another form, beyond the bounds, or without an end.
 */
export async function readOwnerReport(
  chunks: AsyncIterable<Uint8Array>,
  reader: OwnerReportReader,
  pace = new Pace(),
): Promise<OwnerReportEnd> {
  const lines = new ReportLines(reader)
  let [rest, bytes] = ['', 0]
  for await (const chunk of chunks) {
    bytes += chunk.length
    if (bytes > maxReportBytes) throw brokenReport(`more than ${maxReportBytes} bytes`)
    const all = (rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1')).split(
      '\n',
    )
    rest = all.pop() ?? ''
    if (rest.length > maxLineBytes) throw brokenReport(`a line of more than ${maxLineBytes} bytes`)
    for (const line of all) if (pace.isDue(lines.take(line))) await pace.rest()
  }
  if (rest !== '') throw brokenReport('a last line without an end')
  return lines.finish()
}

class ReportLines {
  readonly #reader: OwnerReportReader
  #begun = false
  #asker = 0
  #processes = 0
  #owners = 0
  #end: OwnerReportEnd | undefined
  /** Of the run that the line has. */
  #frames = 0
  /** What a run belongs to. */
  #context: 'nothing' | 'process' | 'mapping' | 'file' = 'nothing'

  constructor(reader: OwnerReportReader) {
    this.#reader = reader
  }

  /** Gives how many steps the line took. */
  take(line: string): number {
    if (line.length > maxLineBytes) throw brokenReport(`a line of more than ${maxLineBytes} bytes`)
    if (this.#end !== undefined) throw brokenReport('lines behind its end')
    if (!this.#begun) {
      if (line !== head) throw brokenReport(`${shown(line)} in the place of "${head}"`)
      this.#begun = true
      return stepsOfLine
    }
    const word = line.slice(0, line.indexOf(' '))
    const take = this.#takes[word]
    this.#frames = 0
    if (take === undefined || !take(line)) throw brokenReport(`the line ${shown(line)}`)
    return stepsOfLine + this.#frames
  }

  /** By the first word; false for a line of another form, or in another place. */
  readonly #takes: Readonly<Record<string, (line: string) => boolean>> = Object.assign(Object.create(null), {
    run: (line: string) => {
      const [, frame, count, kind] = runForm.exec(line) ?? []
      if (frame === undefined || count === undefined) return false
      if (this.#context !== 'mapping' && this.#context !== 'file') return false
      this.#frames = Number.parseInt(count, 16)
      this.#reader.run({
        frame: Number.parseInt(frame, 16),
        count: this.#frames,
        ofFile: kind === 'f',
      })
      return true
    },
    map: (line: string) => {
      const [, path] = mapForm.exec(line) ?? []
      if (path === undefined || (this.#context !== 'process' && this.#context !== 'mapping')) return false
      this.#counted()
      this.#context = 'mapping'
      this.#reader.mapping({ path: text(path) })
      return true
    },
    process: (line: string) => {
      const [, pid, name] = /^process (\d{1,10}) (.{0,80})$/.exec(line) ?? []
      if (pid === undefined || name === undefined || this.#context === 'file') return false
      if (++this.#processes > maxProcesses) throw brokenReport(`more than ${maxProcesses} processes`)
      this.#counted()
      this.#context = 'process'
      this.#reader.process({ pid: Number(pid), name: text(name), asks: Number(pid) === this.#asker })
      return true
    },
    file: (line: string) => {
      this.#counted()
      this.#context = 'file'
      this.#reader.file({ path: text(line.slice('file '.length)) })
      return true
    },
    asker: (line: string) => {
      const [, pid] = /^asker (\d{1,10})$/.exec(line) ?? []
      if (pid === undefined || this.#context !== 'nothing') return false
      this.#asker = Number(pid)
      return true
    },
    end: (line: string) => {
      const [, processes, files, skipped] = /^end (\d{1,10}) (\d{1,10}) (\d{1,10})$/.exec(line) ?? []
      if (processes === undefined) return false
      this.#end = { processes: Number(processes), files: Number(files), skipped: Number(skipped) }
      return true
    },
  })

  #counted(): void {
    if (++this.#owners > maxOwners) throw brokenReport(`more than ${maxOwners} processes, mappings and files`)
  }

  finish(): OwnerReportEnd {
    if (this.#end === undefined) throw brokenReport('no end')
    return this.#end
  }
}

/** Names are bytes, mostly of UTF-8. Control characters must not reach a terminal. */
const text = (latin1: string): string =>
  Buffer.from(latin1, 'latin1')
    .toString('utf8')
    .replace(/[\p{C}\u2028\u2029]/gu, '?')

const shown = (line: string): string => JSON.stringify(text(line.slice(0, 80)))
