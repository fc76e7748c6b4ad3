import numpy


def handle(data):
    both = numpy.frombuffer(data, dtype=numpy.uint8).astype(numpy.float64)
    side = round((both.size // 2) ** 0.5)
    left, right = both.reshape(2, side, side)
    return (left @ right).astype("<u4").tobytes()
