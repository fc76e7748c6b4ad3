// As python.py: keeps a function in a process. Argument: the function's file, which exports handle(input).
import { readSync, writeSync } from 'node:fs'

const [requests, replies] = [3, 4]
const [path] = process.argv.slice(2)

function take(count) {
  const data = Buffer.alloc(count)
  for (let at = 0; at < count; ) {
    const got = readSync(requests, data, at, count - at, null)
    if (got === 0) process.exit(0)
    at += got
  }
  return data
}

function reply(status, micros, data) {
  const head = Buffer.alloc(13)
  head[0] = status
  head.writeBigUInt64LE(BigInt(micros), 1)
  head.writeUInt32LE(data.length, 9)
  const whole = Buffer.concat([head, data])
  for (let at = 0; at < whole.length; ) at += writeSync(replies, whole, at)
}

const words = (error) => Buffer.from(String(error?.stack ?? error).slice(0, 2000))

let handle
try {
  handle = (await import(path)).handle
  if (typeof handle !== 'function') throw new TypeError('no function handle is exported')
} catch (error) {
  reply(1, 0, words(error))
  process.exit(1)
}
reply(0, 0, Buffer.alloc(0))
for (;;) {
  const data = take(take(4).readUInt32LE())
  const begin = process.hrtime.bigint()
  let status = 0
  let output
  try {
    output = Buffer.from(await handle(data))
  } catch (error) {
    status = 1
    output = words(error)
  }
  const micros = (process.hrtime.bigint() - begin) / 1000n
  reply(status, micros, output)
}
