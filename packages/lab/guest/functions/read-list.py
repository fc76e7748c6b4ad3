# 32 MiB of pointers, 512 to a page: Python keeps the numbers up to 256 once.
LIST = list(range(251)) * (8192 * 512 // 251 + 1)


def handle(data):
    first, pages = map(int, data.split())
    return str(sum(LIST[page * 512] for page in range(first, first + pages)))
