/**
 * What keeps a function in a process (docs/formats/agent-protocol.md, "Runtimes"): arguments are the function's file, the
 * descriptor to read requests from, the one to answer on, and the most bytes of an output. Between agent and runner:
 *
 *     request  u32 LE length, input
 *     reply    u8 status (0 output, 1 the error in words, 2 too long), u64 LE microseconds in `handle`, u32 LE length, bytes
 *
 * The first reply, before any request, says that the function is loaded. Standard output and error go to the function's log.
 */
export const pythonRunner = `import os, struct, sys, time, traceback

path, source, sink, longest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
sys.argv = [path]
sys.path.insert(0, os.path.dirname(path))


def take(count):
    chunks = []
    while count > 0:
        chunk = os.read(source, min(count, 1 << 20))
        if not chunk:
            os._exit(0)
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def reply(status, micros, data):
    view = memoryview(struct.pack("<BQI", status, micros, len(data)) + data)
    while view:
        view = view[os.write(sink, view) :]


def words():
    return traceback.format_exc(limit=-3)[-2000:].encode()


scope = {"__name__": "function", "__file__": path}
try:
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), scope)
    handle = scope["handle"]
except BaseException:
    reply(1, 0, words())
    os._exit(1)
reply(0, 0, b"")
while True:
    data = take(struct.unpack("<I", take(4))[0])
    begin = time.monotonic_ns()
    try:
        output = handle(data)
        if isinstance(output, str):
            output = output.encode()
        output = bytes(output)
        status = 0
    except BaseException:
        status, output = 1, words()
    micros = (time.monotonic_ns() - begin) // 1000
    sys.stdout.flush()
    if len(output) > longest:
        status, output = 2, b""
    reply(status, micros, output)
    del data, output
`

export const nodeRunner = `import { readSync, writeSync } from 'node:fs'

const [path, source, sink, longest] = process.argv.slice(2).map((it, i) => (i === 0 ? it : Number(it)))

function take(count) {
  const data = Buffer.alloc(count)
  for (let at = 0; at < count; ) {
    const got = readSync(source, data, at, count - at, null)
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
  for (let at = 0; at < whole.length; ) at += writeSync(sink, whole, at)
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
  if (output.length > longest) {
    status = 2
    output = Buffer.alloc(0)
  }
  reply(status, micros, output)
}
`
