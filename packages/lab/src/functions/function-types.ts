/** The interpreter that loads a function once and keeps it in its process. */
export type FunctionRuntime = 'python' | 'node'

/** A and B are of one size and differ in content; `a4` is like A and four times as large. */
export type InputName = 'a' | 'b' | 'a4'

export const inputNames: readonly InputName[] = ['a', 'b', 'a4']

export interface FunctionInput {
  /** In the function's `unit`. */
  readonly size: number
  /** Inputs of one size and another seed have other content. */
  readonly seed: number
}

/**
 * Work for a guest, whose answers are checked. Values only: nothing here talks to a guest (see
 * invoke-function.ts). One of your own is an object of this type; docs/guides/nested-lab.md shows one.
 */
export interface LabFunction {
  /** 1–32 of a–z, 0–9 and '-', not '-' first: as the agent has it. */
  readonly name: string
  /** One sentence for lists and reports. */
  readonly about: string
  readonly runtime: FunctionRuntime
  /**
   * A module that defines `handle(input)`, or for `node` exports it, and then may be asynchronous. It gets
   * the input's bytes and gives bytes or a string.
   */
  readonly source: string
  /**
   * Debian packages that have to be in the guest's root file system, beyond Python and its standard library.
   */
  readonly packages: readonly string[]
  /** What `size` counts: orders, pages, bytes. */
  readonly unit: string
  readonly inputs: Readonly<Record<InputName, FunctionInput>>
  /** The bytes of an input: always the same for the same size and seed. */
  makeInput(input: FunctionInput): Buffer
  /**
   * What is wrong with an output for this input, or null: worked out on the host,
   * by other code than the guest's.
   */
  fault(input: Buffer, output: Buffer): string | null
}
