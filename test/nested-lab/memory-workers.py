"""Processes that write and verify memory all the time, as a function of the guest's agent
(docs/formats/agent-protocol.md).

`start WORKERS PAGES` starts them, each pinned to the next vCPU. `mark NAME` keeps a name in memory, and gives
the report, as `report` does. A round of a worker: each of its own pages holds what the last round wrote to
it, and gets this round's content; of each page of the common area the first half is as it was at the start,
and the worker's own word is of its last round, and gets this round's. So all vCPUs read and write the same
pages at the same time.
"""

import json, mmap, os, struct

PAGE = 4096
COMMON_PAGES = 64
HALF = PAGE // 2
# A worker's words: rounds, wrong pages, and the first wrong one: what it is, round, page.
STATUS = struct.Struct("<QQQQQ")

state = {"mark": None, "pids": []}


def own_page(worker, round, page):
    return struct.pack("<IIQ", worker + 1, round, page) * (PAGE // 16)


def common_half(page):
    return struct.pack("<QQ", 2**63, page) * (HALF // 16)


def word(worker, round):
    return struct.pack("<II", worker + 1, round)


def work(worker, pages, common, status):
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
    while True:
        for page in range(pages):
            begin, end = page * PAGE, (page + 1) * PAGE
            verify(own[begin:end], own_page(worker, round, page), 1, page)
            own[begin:end] = own_page(worker, round + 1, page)
        for page in range(COMMON_PAGES):
            begin = page * PAGE
            verify(common[begin : begin + HALF], common_half(page), 2, page)
            verify(common[begin + mine : begin + mine + 8], word(worker, round), 3, page)
            common[begin + mine : begin + mine + 8] = word(worker, round + 1)
        round += 1
        status[worker * STATUS.size : (worker + 1) * STATUS.size] = STATUS.pack(round, wrong, *first)


def start(workers, pages):
    common = mmap.mmap(-1, COMMON_PAGES * PAGE)
    for page in range(COMMON_PAGES):
        common[page * PAGE : page * PAGE + HALF] = common_half(page)
    state["status"] = mmap.mmap(-1, PAGE)
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                os.sched_setaffinity(0, {worker % os.cpu_count()})
                # The agent comes first, whatever the scheduler charged it for a jump of the clock:
                # docs/notes/clock-jumps.md.
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                work(worker, pages, common, state["status"])
            finally:
                os._exit(1)
        state["pids"].append(pid)


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
    return json.dumps(report())
