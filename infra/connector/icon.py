"""Draws the connector's icon: a calendar sheet with one day struck out, on the brand colour.

``python -m infra.connector.icon FILE`` writes it. The program computes the drawing from distances
to shapes. So the file is the same on every machine and needs no drawing program. Owns the icon's
shapes and colours. ``apiProperties.json`` repeats the brand colour, and a test compares the two.
"""

import math
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

SIZE = 230
BRAND = (0x0B, 0x5A, 0x6E)
_PAPER = (0xFF, 0xFF, 0xFF)
_HEADER = (0x8F, 0xD3, 0xC8)
_DAY = (0xC5, 0xD6, 0xDB)
_STRUCK = (0xD9, 0x3F, 0x32)

type Colour = tuple[int, int, int]
type Shape = Callable[[float, float], float]


def _box(left: float, top: float, right: float, bottom: float, radius: float) -> Shape:
    """Return the signed distance to a rectangle with round corners, negative inside, in pixels."""
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    half_x, half_y = (right - left) / 2 - radius, (bottom - top) / 2 - radius

    def distance(x: float, y: float) -> float:
        away_x, away_y = abs(x - middle_x) - half_x, abs(y - middle_y) - half_y
        outside = math.hypot(max(away_x, 0.0), max(away_y, 0.0))
        return outside + min(max(away_x, away_y), 0.0) - radius

    return distance


def _line(from_x: float, from_y: float, to_x: float, to_y: float, width: float) -> Shape:
    """Return the signed distance to a line with round ends."""
    run, rise = to_x - from_x, to_y - from_y

    def distance(x: float, y: float) -> float:
        along = ((x - from_x) * run + (y - from_y) * rise) / (run * run + rise * rise)
        nearest = min(1.0, max(0.0, along))
        return math.hypot(x - from_x - nearest * run, y - from_y - nearest * rise) - width / 2

    return distance


def _both(first: Shape, second: Shape) -> Shape:
    return lambda x, y: max(first(x, y), second(x, y))


def _circle(middle_x: float, middle_y: float, radius: float) -> Shape:
    return lambda x, y: math.hypot(x - middle_x, y - middle_y) - radius


def _layers() -> list[tuple[Shape, Colour]]:
    sheet = _box(43, 50, 187, 190, 14)
    layers: list[tuple[Shape, Colour]] = [
        (sheet, _PAPER),
        (_both(sheet, _box(43, 50, 187, 86, 0)), _HEADER),
    ]
    layers += [(_line(x, 36, x, 62, 11), BRAND) for x in (80, 150)]
    layers += [(_line(x, 37, x, 61, 5), _PAPER) for x in (80, 150)]
    layers += [
        (_box(x, y, x + 22, y + 18, 4), _DAY) for y in (100, 128, 156) for x in (60, 89, 118, 147)
    ]
    layers += [(_circle(158, 165, 41), BRAND), (_circle(158, 165, 34), _STRUCK)]
    layers += [(_line(145, 152, 171, 178, 9), _PAPER), (_line(171, 152, 145, 178, 9), _PAPER)]
    return layers


def draw() -> bytes:
    """Return the icon: a PNG of 230 by 230 pixels, 8-bit RGB, without transparency."""
    layers = _layers()
    rows = bytearray()
    for row in range(SIZE):
        rows.append(0)  # no filter for this line
        for column in range(SIZE):
            red, green, blue = (float(part) for part in BRAND)
            for shape, colour in layers:
                cover = min(1.0, max(0.0, 0.5 - shape(column + 0.5, row + 0.5)))
                red, green, blue = (
                    below + (above - below) * cover
                    for below, above in zip((red, green, blue), colour, strict=True)
                )
            rows += bytes((round(red), round(green), round(blue)))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(draw())
