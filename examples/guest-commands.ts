import { bootGuest } from '@varve/guest'

/**
 * Boots a guest that `varve guest build` made, and follows what a command in it prints until `count` lines
 * have come. Gives the guest's kernel release and these lines. The guest ends with the block, and the
 * command before it.
 */
export async function followGuest(
  name: string,
  argv: readonly string[],
  count: number,
): Promise<{ kernel: string; lines: string[] }> {
  // Whatever hangs, booting and commands included, ends after two minutes.
  const signal = AbortSignal.timeout(120_000)
  await using guest = await bootGuest(name, { machine: { memoryMib: 128 }, signal })
  const { stdout } = await guest.exec(['cat', '/proc/sys/kernel/osrelease'], { signal })

  await using command = await guest.start(argv, { signal })
  let text = ''
  for await (const chunk of command.stdout) {
    text += chunk
    if (text.split('\n').length > count) break
  }
  return { kernel: stdout.toString().trim(), lines: text.split('\n').slice(0, count) }
}
