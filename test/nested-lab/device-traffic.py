"""Processes that use the guest's devices and verify what came, all the time, as a function of the guest's agent
(docs/formats/guest-agent.md).

`start` starts them, `report` says how far they are, `places` gives the guest frames of their counters (pages
like those of memory-workers.py: what it is, 0, which, number).

The writer writes numbered blocks to /dev/vdb, one after another on a ring, with O_DIRECT and O_DSYNC, and keeps in
memory what it began and what is done. Before that it reads the block, with O_DIRECT: Firecracker writes these
pages, neither the guest's kernel nor the process does. It keeps the last ones, and verifies each when it has
come, and again before the next one is read into its place. The receiver takes a stream over vsock, page by
page, verifies and counts it, tells the count to the sender, and verifies the last pages again before they are
overwritten.
"""

import ctypes, json, mmap, os, socket, struct, time
from array import array

PAGE = 4096
COUNTED = int.from_bytes(b"counted!", "little")
RECEIVED, BEGUN, DONE, COUNTERS = 0, 1, 2, 3
NUMBER = 3
PORT = 1025
RING = 64
PLACES = 16
# Of a process: steps, wrong pages, and the first wrong one: what it is, step.
STATUS = struct.Struct("<QQQQ")

state = {"pids": []}


class Steps:
    """What a process says of itself."""

    def __init__(self, status, process):
        self.status, self.at = status, process * STATUS.size
        self.done = self.wrong = 0
        self.first = (0, 0)

    def verify(self, right, what):
        if not right:
            self.first = self.first if self.wrong else (what, self.done)
            self.wrong += 1

    def step(self):
        self.done += 1
        self.status[self.at : self.at + STATUS.size] = STATUS.pack(self.done, self.wrong, *self.first)
        # As the workers rest.
        time.sleep(0.005)


def pages_of(count):
    return mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def numbered(number):
    return struct.pack("<QQ", COUNTED, number) * (PAGE // 16)


def write_disk(steps, counters):
    disk = os.open("/dev/vdb", os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    out, back = memoryview(pages_of(1)), memoryview(pages_of(PLACES))

    def before(number):
        """What the block holds that gets this number."""
        return numbered(number - RING) if number > RING else bytes(PAGE)

    for number in range(1, 1 << 62):
        at = number % RING * PAGE
        begin = number % PLACES * PAGE
        place = back[begin : begin + PAGE]
        if number > PLACES:
            steps.verify(place == before(number - PLACES), 1)
        os.preadv(disk, [place], at)
        steps.verify(place == before(number), 2)
        out[:] = numbered(number)
        counters[BEGUN * PAGE // 8 + NUMBER] = number
        os.pwritev(disk, [out], at)
        counters[DONE * PAGE // 8 + NUMBER] = number
        steps.step()


def streamed(page):
    return array("Q", range(page * PAGE // 8, (page + 1) * PAGE // 8)).tobytes()


def receive_page(peer):
    """None if the connection has ended, as it does when a snapshot is restored."""
    page = b""
    while len(page) < PAGE:
        try:
            more = peer.recv(PAGE - len(page))
        except OSError:
            return None
        if not more:
            return None
        page += more
    return page


def receive(steps, counters):
    ring = pages_of(RING)
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, PORT))
    listener.listen(8)
    count = 0
    while True:
        peer, _ = listener.accept()
        with peer:
            while True:
                try:
                    peer.sendall(struct.pack("<Q", count))
                except OSError:
                    break
                page = receive_page(peer)
                if page is None:
                    break
                at = count % RING * PAGE
                if count >= RING:
                    steps.verify(ring[at : at + PAGE] == streamed(count - RING), 3)
                steps.verify(page == streamed(count), 4)
                ring[at : at + PAGE] = page
                count += 1
                counters[RECEIVED * PAGE // 8 + NUMBER] = count
                steps.step()


PROCESSES = (write_disk, receive)


def start():
    counters = memoryview(mmap.mmap(-1, COUNTERS * PAGE)).cast("Q")
    for which in range(COUNTERS):
        at = which * PAGE // 8
        counters[at : at + NUMBER] = memoryview(struct.pack("<QQQ", COUNTED, 0, which)).cast("Q")
    state["counters"] = counters
    state["status"] = mmap.mmap(-1, PAGE)
    for process, run in enumerate(PROCESSES):
        pid = os.fork()
        if pid == 0:
            try:
                # The agent comes first, as in memory-workers.py.
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                run(Steps(state["status"], process), counters)
            except BaseException as error:
                print(run.__name__, repr(error), flush=True)
            finally:
                os._exit(1)
        state["pids"].append(pid)


def running(pid):
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False  # It was told before that it has ended.


def report():
    processes = []
    for process, pid in enumerate(state["pids"]):
        rounds, wrong, *first = STATUS.unpack_from(state["status"], process * STATUS.size)
        name = PROCESSES[process].__name__
        processes.append({"name": name, "running": running(pid), "rounds": rounds, "wrong": wrong, "first": first})
    return processes


def places():
    """By pagemap (proc_pid_pagemap(5)), as in memory-workers.py."""
    counters = state["counters"]
    address = ctypes.addressof(ctypes.c_char.from_buffer(counters))
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // PAGE * 8)
        words = memoryview(pagemap.read(counters.nbytes // PAGE * 8)).cast("Q")
    return [word & (2**55 - 1) for word in words]


def handle(data):
    op = data.decode().strip()
    if op == "start":
        start()
    return json.dumps(places() if op == "places" else report())
