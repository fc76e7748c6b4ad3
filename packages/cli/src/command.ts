import type { ParseArgsConfig } from 'node:util'

export type OptionTable = NonNullable<ParseArgsConfig['options']>
export type OptionValues = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

export type Colour = 'red' | 'yellow' | 'green'

/**
 * What a verb gets. Results go to `print` (stdout), talk to `say` (stderr):
 * stdout is a contract, stderr is not.
 */
export interface CommandContext {
  readonly values: OptionValues
  readonly positionals: readonly string[]
  /** `--json` was given: print exactly one JSON document. */
  readonly json: boolean
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
  print(text: string): void
  printJson(value: unknown): void
  /** One line of JSON: for verbs that print a document again and again. */
  printJsonLine(value: unknown): void
  say(text: string): void
  /** `text` in a colour if standard output is a terminal that shows colours. */
  paint(colour: Colour, text: string): string
  /**
   * Says `what` (with seconds, the pace and the time that is left) on stderr once the work has lasted a
   * second, and again every few.
   */
  progress<T>(what: string, work: (update: (detail: string) => void) => Promise<T>): Promise<T>
}

export interface Command {
  /** `varve VERB …` and what its words mean; options, examples and exit statuses follow in `help`. */
  readonly usage: string
  readonly options: OptionTable
  /** Shown by `varve help VERB`: one line an option, then examples. */
  readonly help: string
  /** Gives the exit status, if it can be another than 0 when all went well. */
  readonly run: (context: CommandContext) => Promise<void> | Promise<number>
}
