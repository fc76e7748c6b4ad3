import zlib


def handle(data):
    return zlib.compress(data, 6)
