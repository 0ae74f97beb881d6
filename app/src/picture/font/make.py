"""Writes outlines.bin: outlines of DejaVu Sans at 512 units an em, for labels of PNG pictures.

    python make.py /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf outlines.bin      (needs fonttools)

A glyph: code point, advance, then moves (1 dx dy), lines (2 dx dy) and curves (3 dx dy of the control, dx dy of
the end), then 0. Numbers are LEB128, those that may be negative in zigzag; each dx dy is from the point before.
"""

import sys

from fontTools.pens.basePen import decomposeQuadraticSegment
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont

EM = 512
RANGES = [(0x20, 0x7E), (0xA0, 0x17F), (0x384, 0x3CE), (0x400, 0x45F)]
SINGLE = "–—‘’“”„†•…‰‹›€™←↑→↓↔↵−∞≈≠≤≥±×␣▁█Δ∑√·�"


def number(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def signed(value):
    return number(value * 2 if value >= 0 else -value * 2 - 1)


def outline(glyphs, name, unit):
    pen = DecomposingRecordingPen(glyphs)
    glyphs[name].draw(pen)
    out, at = bytearray(), (0, 0)

    def to(point):
        nonlocal at
        point = tuple(round(v * unit) for v in point)
        step = signed(point[0] - at[0]) + signed(point[1] - at[1])
        at = point
        return step

    for operation, points in pen.value:
        if operation == "moveTo":
            out += b"\x01" + to(points[0])
        elif operation == "lineTo":
            out += b"\x02" + to(points[0])
        elif operation == "qCurveTo":
            if points[-1] is None:  # a contour without a point on the curve
                points = points[:-1]
                start = tuple((a + b) / 2 for a, b in zip(points[-1], points[0]))
                out += b"\x01" + to(start)
                points = points + (start,)
            for control, end in decomposeQuadraticSegment(points):
                out += b"\x03" + to(control) + to(end)
    return bytes(out) + b"\0"


font = TTFont(sys.argv[1])
unit = EM / font["head"].unitsPerEm
glyphs, names = font.getGlyphSet(), font.getBestCmap()
points = sorted({c for a, b in RANGES for c in range(a, b + 1)} | {ord(c) for c in SINGLE})
out = b"".join(
    number(c) + number(round(glyphs[names[c]].width * unit)) + outline(glyphs, names[c], unit)
    for c in points
    if c in names
)
with open(sys.argv[2], "wb") as file:
    file.write(out)
