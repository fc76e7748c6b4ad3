# Speaks the protocol of docs/formats/agent-protocol.md: Python's standard library only, from 3.9 on. One
# thread for each connection. `agent.py unix:PATH` listens on a Unix socket, for tests where there is no
# vsock. bounds.py has the numbers that both sides keep to; the host writes it next to this file.
import fcntl, json, os, re, shutil, socket, struct, sys, threading, time

from bounds import MAX_BODY, MAX_ENTROPY, MAX_HEADER, PORT, VERSION
from functions import INTERPRETERS, MAX_WORDS, Kept, Program, Refusal

MAX_CONNECTIONS = 32
MAX_FUNCTIONS = 64
MAX_FILES = 64
IDLE_SECONDS = 60
FUNCTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
FILE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
HOSTNAME = re.compile(r"[a-zA-Z0-9.-]{1,64}")
FOLDER = os.environ.get("VARVE_FUNCTIONS", "/run/functions")

functions = {}
changing = threading.Lock()


def now_us():
    return time.monotonic_ns() // 1000


def field(header, name, kind, default=None):
    value = header.get(name, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refusal("BAD_REQUEST", f"{name} is not {kind.__name__}")
    return value


def function_name(header):
    name = field(header, "function", str)
    if not FUNCTION_NAME.fullmatch(name):
        raise Refusal("BAD_REQUEST", "function is not a name")
    return name


def file_name(header):
    name = field(header, "file", str)
    if not FILE_NAME.fullmatch(name):
        raise Refusal("BAD_REQUEST", "file is not a name")
    return name


def seconds(header, default_ms):
    millis = field(header, "timeoutMs", int, default_ms)
    if not 1 <= millis <= 3600000:
        raise Refusal("BAD_REQUEST", "timeoutMs is out of range")
    return millis / 1000


def found(header):
    name = function_name(header)
    known = functions.get(name)
    if known is None:
        raise Refusal("NO_FUNCTION", f"no function {name}")
    return known


def ping(header, body):
    uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    return {"agent": "varve-agent", "version": VERSION, "uptimeMs": uptime}, b""


def put(header, body):
    name, file = function_name(header), file_name(header)
    executable = field(header, "executable", bool, False)
    folder = os.path.join(FOLDER, name)
    with changing:
        os.makedirs(FOLDER, exist_ok=True)
        if not os.path.isdir(folder) and len(os.listdir(FOLDER)) >= MAX_FUNCTIONS:
            raise Refusal("BAD_REQUEST", f"more than {MAX_FUNCTIONS} functions")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, file)
        if not os.path.exists(path) and len(os.listdir(folder)) >= MAX_FILES:
            raise Refusal("BAD_REQUEST", f"more than {MAX_FILES} files")
        # A new file, as one that is being executed cannot be written to. No name that put takes begins with a
        # dot.
        work = os.path.join(folder, ".work")
        with open(work, "wb") as target:
            target.write(body)
        os.chmod(work, 0o755 if executable else 0o644)
        os.rename(work, path)
    return {"bytes": len(body)}, b""


def start(header, body):
    name, file = function_name(header), file_name(header)
    runtime = field(header, "runtime", str)
    timeout = seconds(header, 120000)
    begin = now_us()
    path = os.path.join(FOLDER, name, file)
    if not os.path.isfile(path):
        raise Refusal("START_FAILED", f"function {name} has no file {file}")
    if runtime != "program" and runtime not in INTERPRETERS:
        raise Refusal("BAD_REQUEST", "runtime is not python, node or program")
    with changing:
        old = functions.pop(name, None)
        if old is not None:
            old.stop()
        started = Program(name, path) if runtime == "program" else Kept(name, runtime, path, timeout)
        functions[name] = started
    return {"startUs": now_us() - begin, "pid": started.pid}, b""


def invoke(header, body):
    micros, answer = found(header).invoke(body, seconds(header, 300000))
    return {"handlerUs": micros}, answer


def list_functions(header, body):
    rows = [
        {
            "name": it.name,
            "runtime": it.runtime,
            "pid": it.pid,
            "invocations": it.invocations,
            "running": it.running(),
        }
        for it in list(functions.values())
    ]
    return {"functions": rows}, b""


def stop(header, body):
    known = found(header)
    with changing:
        if functions.get(known.name) is known:
            del functions[known.name]
            known.stop()
            shutil.rmtree(os.path.join(FOLDER, known.name), ignore_errors=True)
    return {}, b""


RNDADDENTROPY = 0x40085203  # linux/random.h
RNDRESEEDCRNG = 0x5207


def fix_up(header, body):
    done, extra = [], {}
    if "clockMs" in header:
        millis = field(header, "clockMs", int)
        if not 0 <= millis < 1 << 45:
            raise Refusal("BAD_REQUEST", "clockMs is out of range")
        extra["clockWasMs"] = time.time_ns() // 1000000
        time.clock_settime_ns(time.CLOCK_REALTIME, millis * 1000000)
        done.append("clock")
    if "hostname" in header:
        name = field(header, "hostname", str)
        if not HOSTNAME.fullmatch(name):
            raise Refusal("BAD_REQUEST", "hostname is not a name")
        socket.sethostname(name)
        done.append("hostname")
    if field(header, "entropy", bool, False):
        if len(body) > MAX_ENTROPY:
            raise Refusal("BAD_REQUEST", f"more than {MAX_ENTROPY} bytes of entropy")
        fd = os.open("/dev/urandom", os.O_WRONLY)
        try:
            # struct rand_pool_info: bits to credit, bytes, the bytes.
            fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("@ii", len(body) * 8, len(body)) + body)
            fcntl.ioctl(fd, RNDRESEEDCRNG)
        finally:
            os.close(fd)
        done.append("entropy")
    return {"done": done, **extra}, b""


def memory(header, body):
    with open("/proc/meminfo") as file:
        meminfo = {line.split(":")[0]: int(line.split()[1]) for line in file}
    with open("/proc/vmstat") as file:
        counters = dict(line.split() for line in file)
    vmstat = {name: int(counters.get(name, 0)) for name in ("pgfault", "pgmajfault", "pgpgin", "pgpgout")}
    rows = []
    for it in list(functions.values()):
        if it.pid is None or not it.running():
            continue
        with open(f"/proc/{it.pid}/statm") as file:
            resident = int(file.read().split()[1]) * 4
        rows.append({"name": it.name, "pid": it.pid, "residentKib": resident})
    return {"meminfo": meminfo, "vmstat": vmstat, "functions": rows}, b""


OPS = {
    "ping": ping,
    "put": put,
    "start": start,
    "invoke": invoke,
    "list": list_functions,
    "stop": stop,
    "fix-up": fix_up,
    "memory": memory,
}


def take(connection, count):
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = connection.recv_into(view[at:])
        if got == 0:
            return None
        at += got
    return bytes(data)


def send(connection, header, body=b""):
    text = json.dumps(header).encode()
    connection.sendall(struct.pack("<II", len(text), len(body)) + text)
    if body:
        connection.sendall(body)


def answer(header, body, arrived):
    """The reply's header and body, and whether the connection is of further use."""
    try:
        op = OPS.get(field(header, "op", str))
        if op is None:
            raise Refusal("UNKNOWN_OP", "this op is not known")
        extra, output = op(header, body)
        if header["op"] == "invoke":
            extra["guestUs"] = now_us() - arrived
        return {"ok": True, **extra}, output, True
    except Refusal as refusal:
        message = str(refusal)[-MAX_WORDS:]
        return {"ok": False, "code": refusal.code, "message": message}, b"", refusal.code != "BAD_REQUEST"
    except (OSError, MemoryError) as error:
        message = f"{type(error).__name__}: {error}"[:MAX_WORDS]
        return {"ok": False, "code": "FAILED", "message": message}, b"", True


def serve(connection):
    while True:
        # Between requests a connection may be quiet for as long as it likes.
        connection.settimeout(None)
        first = connection.recv(1)
        if not first:
            return
        connection.settimeout(IDLE_SECONDS)
        rest = take(connection, 7)
        if rest is None:
            return
        header_length, body_length = struct.unpack("<II", first + rest)
        if not 2 <= header_length <= MAX_HEADER or body_length > MAX_BODY:
            send(connection, {"ok": False, "code": "BAD_REQUEST", "message": "lengths out of bounds"})
            return
        text = take(connection, header_length)
        if text is None:
            return
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            send(connection, {"ok": False, "code": "BAD_REQUEST", "message": "the header is no JSON object"})
            return
        body = take(connection, body_length)
        if body is None:
            return
        reply, output, more = answer(header, body, now_us())
        send(connection, reply, output)
        if not more:
            return


def listener():
    if len(sys.argv) > 1 and sys.argv[1].startswith("unix:"):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(sys.argv[1][len("unix:") :])
    else:
        made = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        made.bind((socket.VMADDR_CID_ANY, PORT))
    made.listen(MAX_CONNECTIONS)
    return made


served = threading.BoundedSemaphore(MAX_CONNECTIONS)


def attend(connection):
    try:
        with connection:
            serve(connection)
    except OSError:
        pass  # the peer has gone
    finally:
        served.release()


incoming = listener()
while True:
    served.acquire()
    peer, _ = incoming.accept()
    threading.Thread(target=attend, args=(peer,), daemon=True).start()
