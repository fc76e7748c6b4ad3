import mmap, struct

WORD = struct.Struct("<Q")


def handle(data):
    seed, pages = map(int, data.split())
    with mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for page in range(pages):
            WORD.pack_into(memory, page * 4096, seed + page)
        return str(sum(WORD.unpack_from(memory, page * 4096)[0] for page in range(pages)))
