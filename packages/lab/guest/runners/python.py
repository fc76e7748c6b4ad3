# Keeps a function in a process, as docs/formats/guest-agent.md says under "Functions": reads requests from
# descriptor 3, answers on 4. Argument: the function's file, which defines handle(input).
import os, struct, sys, time, traceback

REQUESTS, REPLIES = 3, 4
path = sys.argv[1]
sys.argv = [path]


def take(count):
    chunks = []
    while count > 0:
        chunk = os.read(REQUESTS, min(count, 1 << 20))
        if not chunk:
            os._exit(0)
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def reply(status, micros, data):
    view = memoryview(struct.pack("<BQI", status, micros, len(data)) + data)
    while view:
        view = view[os.write(REPLIES, view) :]


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
    reply(status, micros, output)
    del data, output
