# `hold NAME PAGES` fills fresh pages, each with NAME and its number, and keeps them. `leave` gives them back
# to the guest's kernel, which does not clear them. `right` counts the kept pages that are as they were;
# `fresh` counts fresh pages that come as zeros and hold what is then written to them.
import mmap

kept = {}


def content(name, page):
    return (name.ljust(8).encode() + page.to_bytes(8, "little")) * 256


def filled(name, pages):
    memory = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    zero = bytes(4096)
    right = 0
    for page in range(pages):
        right += memory[page * 4096 : (page + 1) * 4096] == zero
        memory[page * 4096 : (page + 1) * 4096] = content(name, page)
    return memory, right


def count(name, pages, memory):
    return sum(memory[p * 4096 : (p + 1) * 4096] == content(name, p) for p in range(pages))


def handle(data):
    op, name, pages = data.decode().split()
    pages = int(pages)
    if op == "right":
        return str(count(name, pages, kept[name]))
    memory, right = filled(name, pages)
    if op == "hold":
        kept[name] = memory
        return str(right)
    with memory:
        return str(min(right, count(name, pages, memory)))
