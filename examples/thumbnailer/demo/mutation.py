"""Hostile pictures, made out of real ones. The same ones every time."""

import random
import struct
import zlib


def truncated(data):
    return data[:len(data) // 2]


def flipped(data, seed, header=24):
    """Turn over a bit of every hundredth byte or so, behind the magic bytes."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(max(1, len(data) // 100)):
        changed[chance.randrange(header, len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def huge_jpeg(data):
    """Say 65500 x 65500 in the frame header."""
    position = 2
    while data[position + 1] not in (0xC0, 0xC1, 0xC2):
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return data[:position + 5] + struct.pack(">HH", 65500, 65500) + data[position + 9:]


def huge_png(data):
    """Say 500000 x 500000 in the header, with the right checksum."""
    header = struct.pack(">II", 500000, 500000) + data[24:29]
    return data[:8] + _chunk(b"IHDR", header) + data[33:]


def huge_gif(data):
    """Say 65535 x 65535 for the screen and for the first image."""
    changed = bytearray(data)
    struct.pack_into("<HH", changed, 6, 65535, 65535)
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while changed[position] == 0x21:  # extensions stand before the image
        position += 2
        while changed[position] != 0:
            position += 1 + changed[position]
        position += 1
    struct.pack_into("<HH", changed, position + 5, 65535, 65535)
    return bytes(changed)


def bomb_png(side=30000):
    """A valid PNG of side x side black pixels: 2.7 GB out of 2.6 MB."""
    row = bytes(1 + 3 * side)
    rows = 100
    assert side % rows == 0
    deflate = zlib.compressobj(9)
    first = deflate.compress(row * rows) + deflate.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same rows compress to the same bytes.
    block = deflate.compress(row * rows) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15).flush()
    size = len(row) * side
    checksum = struct.pack(">I", size % 65521 << 16 | 1)  # Adler-32 of that many zeros
    stream = first + block * (side // rows - 1) + last + checksum
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + _chunk(b"IDAT", stream) + _chunk(b"IEND", b""))


def bomb_gif(side=30000):
    """A valid GIF of side x side pixels of one colour: 900 million out of 330 KB."""
    bits = _Bits()
    bits.add(4, 3)  # clear; 2-bit pixels make 3-bit codes
    left, run, code, width = side * side, 1, 0, 3
    while left > 0:
        if run > left:
            run, code = left, left + 4 if left > 1 else 0
        bits.add(code, width)
        left -= run
        # Each code stands for one pixel more than the one before; the table
        # is full at 4096.
        following = 6 if code == 0 else code + 1
        if following < 4096:
            code, run = following, run + 1
            width = max(width, code.bit_length())
    bits.add(5, width)  # end
    data = bits.finish()
    blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255))
    return (b"GIF89a" + struct.pack("<HHBBB", side, side, 0x81, 0, 0) + bytes(12)
            + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2" + blocks + b"\0;")


class _Bits:
    """A string of bits, least significant first."""

    def __init__(self):
        self._bytes = bytearray()
        self._word = 0
        self._count = 0

    def add(self, value, width):
        self._word |= value << self._count
        self._count += width
        while self._count >= 8:
            self._bytes.append(self._word & 255)
            self._word >>= 8
            self._count -= 8

    def finish(self):
        if self._count:
            self._bytes.append(self._word)
        return bytes(self._bytes)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
