"""Writes the golden files of docs/formats/framed-layer-v1.md alongside this one, by the format's text alone: no code of
Varve, no library for compression. `python3 make.py`. To be run only when a new version of the format comes."""
import hashlib
import struct
import zlib
from pathlib import Path

PAGE, FRAME = 4096, 128 * 4096
NONE, LZ4, ZSTD = 0, 1, 2
here = Path(__file__).parent


def byte_runs(raw):
    """[byte, count] of neighbouring equal bytes."""
    runs = []
    for byte in raw:
        if runs and runs[-1][0] == byte:
            runs[-1][1] += 1
        else:
            runs.append([byte, 1])
    return runs


def lz4_length(value):
    """The bytes behind a nibble of 15."""
    out, value = b'', value - 15
    while value >= 255:
        out, value = out + b'\xff', value - 255
    return out + bytes([value])


def lz4(raw):
    """One LZ4 block: each byte run is a literal and a match with offset 1; the last five bytes are literals."""
    out = b''
    runs = byte_runs(raw)
    for n, (byte, count) in enumerate(runs):
        match = count - 1 - (5 if n == len(runs) - 1 else 0) - 4
        out += bytes([0x10 | min(match, 15), byte]) + b'\x01\x00' + (lz4_length(match) if match >= 15 else b'')
    return out + bytes([0x50]) + raw[-5:]


def zstd(raw):
    """One zstd frame (RFC 8878) of RLE blocks, with its content size."""
    blocks = [(byte, part) for byte, count in byte_runs(raw) for part in parts(count, 128 * 1024)]
    out = struct.pack('<IBI', 0xFD2FB528, 0xA0, len(raw))
    for n, (byte, count) in enumerate(blocks):
        last = n == len(blocks) - 1
        out += struct.pack('<I', last | 1 << 1 | count << 3)[:3] + bytes([byte])
    return out


def parts(count, most):
    return [min(most, count - at) for at in range(0, count, most)]


def framed(name, layer, layer_pages, places, hot, codec):
    """`places`: the layer pages in the order of places."""
    tail = layer[layer_pages * PAGE:]
    data = b''.join(layer[p * PAGE:(p + 1) * PAGE] for p in places)
    frames = [(data[at:at + FRAME], codec) for at in range(0, len(data), FRAME)]
    frames += [(tail[at:at + FRAME], NONE) for at in range(0, len(tail), FRAME)]
    body = table = b''
    for raw, how in frames:
        stored = {NONE: bytes, LZ4: lz4, ZSTD: zstd}[how](raw)
        table += struct.pack('<I', len(stored) | how << 24) + hashlib.sha256(stored).digest()
        body += stored
    runs = []
    for place, page in enumerate(places):
        if runs and place != hot and runs[-1][0] + runs[-1][1] == page:
            runs[-1][1] += 1
        else:
            runs.append([page, 1])
    index = table + b''.join(struct.pack('<II', *run) for run in runs)
    trailer = b'VARVEFRM' + struct.pack('<B3xIII', 1, PAGE, 128, len(runs))
    trailer += struct.pack('<QQQQ4x', layer_pages, len(places), hot, len(tail))
    trailer += hashlib.sha256(layer).digest() + bytes(32)
    assert len(trailer) == 124
    checksum = struct.pack('<I', zlib.crc32(index + trailer))
    (here / f'{name}.framed').write_bytes(body + index + trailer + checksum)


def wide_child():
    """A flat child of 300 pages: page p is absent if 7 divides p, else filled with p // 4 + 1."""
    pages = 300
    data = [p for p in range(pages) if p % 7]
    body = b''.join(bytes([p // 4 + 1 if p % 7 else 0]) * PAGE for p in range(pages))
    runs = [(p, min(6, pages - p)) for p in range(1, pages, 7)]
    footer = b''.join(struct.pack('<III', p, count, p) for p, count in runs)
    footer += struct.pack('<I', zlib.crc32(b''.join(bytes([p // 4 + 1]) * PAGE for p in data)))
    footer += b'VARVELYR' + struct.pack('<BBBxIQQQQI', 1, 0, 0, PAGE, pages, pages, len(runs), 1, 512) + bytes(12)
    footer += bytes(range(0x11, 0x21)) + bytes(range(1, 17)) + bytes(28)
    return body + footer + struct.pack('<I', zlib.crc32(footer)), data


golden = {name: (here.parent / 'layers' / f'{name}.layer').read_bytes()
          for name in ('flat-base', 'packed-child', 'empty-child')}
framed('flat-base-raw', golden['flat-base'], 6, [4, 0, 1], 1, NONE)
framed('flat-base-lz4', golden['flat-base'], 6, [0, 1, 4], 0, LZ4)
framed('flat-base-zstd', golden['flat-base'], 6, [1, 0, 4], 2, ZSTD)
framed('packed-child', golden['packed-child'], 2, [1, 0], 2, NONE)
framed('empty-child', golden['empty-child'], 0, [], 0, NONE)
layer, data = wide_child()
hot = [p for p in data if p >= 250] + [3]
cold = [p for p in data if p not in hot]
framed('wide-child-zstd', layer, 300, hot + cold, len(hot), ZSTD)
framed('wide-child-lz4', layer, 300, hot + cold, len(hot), LZ4)
