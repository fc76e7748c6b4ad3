# What keeps a function in a process (docs/formats/agent-protocol.md, "Runtimes"). Arguments: the function's
# file, the descriptor to read requests from, the one to answer on, and the most bytes of an output. Between
# agent and runner:
#
#     request  u32 LE length, input
#     reply    u8 status (0 output, 1 the error in words, 2 too long), u64 LE microseconds in `handle`,
#              u32 LE length, bytes
#
# The first reply, before any request, says that the function is loaded. Standard output and error go to the
# function's log.
import os, struct, sys, time, traceback

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
