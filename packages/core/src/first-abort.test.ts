import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { FirstAbort } from './first-abort.js'

test('aborts with the first of several, for its reason, and leaves nothing in them', () => {
  const [one, two] = [new AbortController(), new AbortController()]
  {
    using first = new FirstAbort([one.signal, undefined, two.signal])
    expect(first.signal.aborted).toBe(false)
    two.abort('enough')
    one.abort('too late')
    expect([first.signal.aborted, first.signal.reason]).toEqual([true, 'enough'])
  }
  for (const { signal } of [one, two]) expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('is aborted already if one of them is, and of none never', () => {
  using first = new FirstAbort([new AbortController().signal, AbortSignal.abort('before')])
  expect([first.signal.aborted, first.signal.reason]).toEqual([true, 'before'])
  using none = new FirstAbort([undefined])
  expect(none.signal.aborted).toBe(false)
})
