"""Processes that write and verify memory all the time, as a function of the guest's agent
(docs/formats/guest-agent.md).

`start WORKERS PAGES` starts them, each pinned to the next vCPU. `mark NAME` keeps a name in memory, and gives
the report, as `report` does. `places` gives the guest frames of the counted pages, see below. A round of a worker: each of its own pages holds what the last round wrote to
it, and gets this round's content; of each page of the common area the first half is as it was at the start,
and the worker's own word is of its last round, and gets this round's. So all vCPUs read and write the same
pages at the same time.

After each page a worker counts, in pages that all workers share: it writes its next number N into its ring of
pages, then into the page of its newest number, then what the next worker's newest number is into a second
ring. So at each instant the newest number is the ring's or one less, and no worker has seen a number of
another that is not in the other's pages: test/support/counted-pages.ts checks that in an image.
"""

import ctypes, json, mmap, os, struct, time

PAGE = 4096
COMMON_PAGES = 64
HALF = PAGE // 2
# A worker's words: rounds, wrong pages, and the first wrong one: what it is, round, page.
STATUS = struct.Struct("<QQQQQ")
RING = 32
# With one vCPU, how much longer than a round a worker then sleeps, and the most, in seconds: a worker that
# was charged for a jump of the clock seems to have used the CPU for as long.
REST, MOST_REST = 3, 0.2
COUNTED = int.from_bytes(b"counted!", "little")
# Places in a worker's counted pages: its numbers, its newest number, the next worker's.
NUMBERS, NEWEST, SEEN, COUNTED_PAGES = 0, RING, RING + 1, 2 * RING + 1
# 8-byte words of a counted page: what it is, worker, place, number.
NUMBER = 3

state = {"mark": None, "pids": []}


def own_page(worker, round, page):
    return struct.pack("<IIQ", worker + 1, round, page) * (PAGE // 16)


def common_half(page):
    return struct.pack("<QQ", 2**63, page) * (HALF // 16)


def word(worker, round):
    return struct.pack("<II", worker + 1, round)


def counted_word(worker, place):
    return (worker * COUNTED_PAGES + place) * PAGE // 8 + NUMBER


def count(worker, workers, counted, verify):
    """Each step counts one on. A word is written at once, so no instant has half of it."""
    neighbour = counted_word((worker + 1) % workers, NEWEST)
    seen = [0] * RING
    number = 0
    while True:
        number += 1
        slot = number % RING
        mine = counted_word(worker, NUMBERS + slot)
        verify(counted[mine], max(0, number - RING), 4, slot)
        counted[mine] = number
        counted[counted_word(worker, NEWEST)] = number
        theirs = counted_word(worker, SEEN + slot)
        verify(counted[theirs], seen[slot], 5, slot)
        newest = counted[neighbour]
        verify(max(newest, seen[slot - 1]), newest, 6, slot)
        counted[theirs] = seen[slot] = newest
        yield


def work(worker, workers, pages, common, counted, status):
    own = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mine = HALF + 8 * worker
    round = wrong = 0
    first = (0, 0, 0)

    def verify(found, expected, what, page):
        nonlocal wrong, first
        if found != expected:
            first = first if wrong else (what, round, page)
            wrong += 1

    for page in range(pages):
        own[page * PAGE : (page + 1) * PAGE] = own_page(worker, 0, page)
    for page in range(COMMON_PAGES):
        common[page * PAGE + mine : page * PAGE + mine + 8] = word(worker, 0)
    counting = count(worker, workers, counted, verify)
    used = time.process_time()
    while True:
        for page in range(pages):
            begin, end = page * PAGE, (page + 1) * PAGE
            verify(own[begin:end], own_page(worker, round, page), 1, page)
            own[begin:end] = own_page(worker, round + 1, page)
            next(counting)
        for page in range(COMMON_PAGES):
            begin = page * PAGE
            verify(common[begin : begin + HALF], common_half(page), 2, page)
            verify(common[begin + mine : begin + mine + 8], word(worker, round), 3, page)
            common[begin + mine : begin + mine + 8] = word(worker, round + 1)
            next(counting)
        round += 1
        status[worker * STATUS.size : (worker + 1) * STATUS.size] = STATUS.pack(round, wrong, *first)
        # A process of the same vCPU may have been charged for a jump of the clock
        # (docs/notes/clock-jumps.md). It gets no turn until the others have run for as long, but while they
        # rest.
        if os.cpu_count() == 1:
            now = time.process_time()
            time.sleep(min(MOST_REST, REST * (now - used)))
            used = now


def start(workers, pages):
    common = mmap.mmap(-1, COMMON_PAGES * PAGE)
    for page in range(COMMON_PAGES):
        common[page * PAGE : page * PAGE + HALF] = common_half(page)
    counted = memoryview(mmap.mmap(-1, workers * COUNTED_PAGES * PAGE)).cast("Q")
    state["counted"] = counted
    for worker in range(workers):
        for place in range(COUNTED_PAGES):
            at = counted_word(worker, place) - NUMBER
            counted[at : at + NUMBER] = memoryview(struct.pack("<QQQ", COUNTED, worker, place)).cast("Q")
    state["status"] = mmap.mmap(-1, PAGE)
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                os.sched_setaffinity(0, {worker % os.cpu_count()})
                # The agent comes first, whatever the scheduler charged it for a jump of the clock:
                # docs/notes/clock-jumps.md.
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                work(worker, workers, pages, common, counted, state["status"])
            finally:
                os._exit(1)
        state["pids"].append(pid)


def places():
    """By pagemap (proc_pid_pagemap(5)): 8 bytes a page, of which 55 bits are the frame."""
    counted = state["counted"]
    address = ctypes.addressof(ctypes.c_char.from_buffer(counted))
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // PAGE * 8)
        words = memoryview(pagemap.read(counted.nbytes // PAGE * 8)).cast("Q")
    return [word & (2**55 - 1) for word in words]


def running(pid):
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False  # It was told before that it has ended.


def report():
    workers = []
    for worker, pid in enumerate(state["pids"]):
        rounds, wrong, *first = STATUS.unpack_from(state["status"], worker * STATUS.size)
        workers.append({"running": running(pid), "rounds": rounds, "wrong": wrong, "first": first})
    return {"mark": state["mark"], "vcpus": os.cpu_count(), "workers": workers}


def handle(data):
    op, *words = data.decode().split()
    if op == "start":
        start(*map(int, words))
    elif op == "mark":
        [state["mark"]] = words
    elif op == "places":
        return json.dumps(places())
    return json.dumps(report())
