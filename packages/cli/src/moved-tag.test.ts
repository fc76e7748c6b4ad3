import { VarveError } from 'varve'
import { beforeEach, expect, test, vi } from 'vitest'
import { main } from './main.js'

const [first, second] = ['a'.repeat(64), 'b'.repeat(64)]
let tagged: string | undefined
beforeEach(() => {
  tagged = first
})

/** Another snapshot gets the tag as soon as the tag has been looked up. */
const store = {
  describe: async (ref: string) => {
    const id = ref === 'warm' ? tagged : ref
    tagged = second
    const workingSets = id === first ? [{ name: 'hello' }] : []
    return { entry: { id }, config: { guestAgent: id === first ? { port: 1024 } : undefined }, workingSets }
  },
}
const restored = vi.fn(async (..._args: unknown[]) => {
  throw new VarveError('LOAD_FAILED', 'no more is needed')
})
vi.mock('varve', async (original) => ({
  ...(await original<typeof import('varve')>()),
  openLocalStore: async () => store,
  listMachines: () => [],
  restoreMachine: (...args: unknown[]) => restored(...args),
  cloneMachines: (...args: unknown[]) => restored(...args),
}))

test.each(['restore', 'clone'])(
  '%s restores the snapshot that it has looked at, if its tag moves',
  async (verb) => {
    restored.mockClear()
    const nothing = { write: () => true }
    await main([verb, 'warm', '--working-set', 'hello'], { stdout: nothing, stderr: nothing })
    const [args = []] = restored.mock.calls
    expect([args[0], args[1]]).toEqual([store, first])
    expect(args.at(-1)).toMatchObject({ workingSet: 'hello', fixUp: expect.any(Function) })
  },
)
