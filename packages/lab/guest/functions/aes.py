def times(a, b):
    """Product in GF(2^8), modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def box():
    """The S-box: the inverse, then FIPS 197's affine map. 3 generates the field, 0xf6 is its inverse."""
    values = [0x63] * 256
    power, inverse = 1, 1
    for _ in range(255):
        turned = inverse
        for shift in range(1, 5):
            turned ^= ((inverse << shift) | (inverse >> (8 - shift))) & 0xFF
        values[power] = turned ^ 0x63
        power, inverse = times(power, 3), times(inverse, 0xF6)
    return values


BOX = box()
TWICE = [times(value, 2) for value in range(256)]
THRICE = [times(value, 3) for value in range(256)]
# Where ShiftRows takes each byte of a block from; a block is its columns, one after another.
SHIFTED = [(i + 4 * (i % 4)) % 16 for i in range(16)]


def round_keys(key):
    words = [list(key[i : i + 4]) for i in range(0, 16, 4)]
    constant = 1
    for i in range(4, 44):
        word = words[-1]
        if i % 4 == 0:
            word = [BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = times(constant, 2)
        words.append([a ^ b for a, b in zip(word, words[i - 4])])
    return [sum(words[i : i + 4], []) for i in range(0, 44, 4)]


def encrypt(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for key in keys[1:-1]:
        state = [BOX[state[i]] for i in SHIFTED]
        mixed = []
        for i in range(0, 16, 4):
            a, b, c, d = state[i : i + 4]
            mixed += [
                TWICE[a] ^ THRICE[b] ^ c ^ d,
                a ^ TWICE[b] ^ THRICE[c] ^ d,
                a ^ b ^ TWICE[c] ^ THRICE[d],
                THRICE[a] ^ b ^ c ^ TWICE[d],
            ]
        state = [a ^ b for a, b in zip(mixed, key)]
    return bytes(BOX[state[i]] ^ keys[-1][n] for n, i in enumerate(SHIFTED))


def handle(data):
    keys = round_keys(data[:16])
    counter = int.from_bytes(data[16:32], "big")
    text = data[32:]
    output = bytearray()
    for at in range(0, len(text), 16):
        pad = encrypt(keys, counter.to_bytes(16, "big"))
        output += bytes(a ^ b for a, b in zip(text[at : at + 16], pad))
        counter = (counter + 1) % (1 << 128)
    return output
