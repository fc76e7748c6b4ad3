import { EventEmitter } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { PrefetchPool } from './prefetch-pool.js'
import type { PrefetchRequest, PrefetchTask } from './prefetch-worker.js'

class FakeWorker extends EventEmitter {
  readonly heard: PrefetchRequest[] = []
  ended = false
  postMessage(request: PrefetchRequest): void {
    this.heard.push(request)
  }
  terminate(): void {
    this.ended = true
  }
  answer(number: number): void {
    this.emit('message', { number, finished: true, failure: null, ms: number, directLayers: 0 })
  }
}

function setUp(threads: number) {
  const workers: FakeWorker[] = []
  const start = () => {
    workers.push(new FakeWorker())
    return workers.at(-1) as unknown as Worker
  }
  return { workers, pool: new PrefetchPool({ start, threads }) }
}
const task = {} as PrefetchTask

test('eight VMs at once have no more threads than may fetch at once, and share them evenly', async () => {
  const { workers, pool } = setUp(2)
  pool.warm()
  const taken = Array.from({ length: 8 }, () => pool.take(task))
  expect(workers.map(({ heard }) => heard.length)).toEqual([4, 4])
  const numbers = workers.map(({ heard }) => heard.map(({ number }) => number))
  expect(numbers).toEqual([
    [0, 2, 4, 6],
    [1, 3, 5, 7],
  ])
  // Each answer goes to its own VM, in whatever order they come.
  workers[1]?.answer(7)
  workers[0]?.answer(0)
  expect((await taken[7]?.end)?.ms).toBe(7)
  expect((await taken[0]?.end)?.ms).toBe(0)
  taken[1]?.order(null)
  expect(workers[1]?.heard.at(-1)).toEqual({ number: 1, order: null })
})

test('VMs one after the other use one thread', async () => {
  const { workers, pool } = setUp(2)
  for (let number = 0; number < 5; number++) {
    const { end } = pool.take(task)
    workers[0]?.answer(number)
    await end
  }
  expect(workers).toHaveLength(1)
})

test('a thread that ends fails its VMs and no others; the next VM has another one', async () => {
  const { workers, pool } = setUp(2)
  const [first, second] = [pool.take(task), pool.take(task)]
  workers[0]?.emit('exit')
  expect(await first.end).toMatchObject({ finished: false, failure: 'the thread ended' })
  workers[1]?.answer(1)
  expect((await second.end).finished).toBe(true)
  pool.take(task)
  pool.take(task)
  expect(workers).toHaveLength(3)
})

test('of many idle threads two are kept', () => {
  const { workers, pool } = setUp(4)
  for (let count = 0; count < 4; count++) pool.take(task)
  workers.forEach((worker, number) => {
    worker.answer(number)
  })
  expect(workers.filter(({ ended }) => ended)).toHaveLength(2)
})
