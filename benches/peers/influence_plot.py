"""The cost of one exact query against the bytes it reads, as SVG: both axes logarithmic, and the line that is linear through the largest.

    python benches/peers/influence_plot.py FILE.jsonl... -o linear.svg

Takes the lines of benches/peers/influence.py with one query (warm) and those of `influence once --evict` (from disk); the best of each.
"""

import argparse
import json
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 420, 70, 150, 30, 50
COLOURS = {"exact, warm": "#1f5fa8", "certified, warm": "#2e8540", "cascade, warm": "#b8540a", "exact, from disk": "#8a2be2"}


def points(paths):
    best = {}
    for path in paths:
        for line in map(json.loads, open(path)):
            if line.get("queries") != 1 or "bytes_read" not in line:
                continue
            if "round" in line:
                name, seconds = f"{line['tool']}, warm", min(line["ms"]) / 1e3
            elif line.get("evicted"):
                name, seconds = f"{line['mode']}, from disk", line["first_seconds"]
            else:
                continue
            if name in COLOURS:
                key = (name, line.get("scanned"))
                best[key] = min(best.get(key, (seconds, line["bytes_read"])), (seconds, line["bytes_read"]))
    series = {}
    for (name, _), (seconds, read) in sorted(best.items(), key=lambda item: item[1][1]):
        series.setdefault(name, []).append((read, seconds))
    return series


def ticks(low, high):
    return [10.0**e for e in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def label(value, unit):
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
        if value >= scale * 0.999:
            return f"{value / scale:g} {prefix}{unit}"
    return f"{value:g} {unit}"


def svg(series):
    every = [point for line in series.values() for point in line]
    low = lambda values: 10 ** math.floor(math.log10(min(values)))
    high = lambda values: 10 ** math.ceil(math.log10(max(values)))
    xs, ys = [x for x, _ in every], [y for _, y in every]
    (x0, x1), (y0, y1) = (low(xs), high(xs)), (low(ys), high(ys))
    x_of = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / x0) / math.log(x1 / x0)
    y_of = lambda y: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(y / y0) / math.log(y1 / y0)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    text = lambda x, y, words, more="": out.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>')
    line = lambda a, b, colour, more="": out.append(
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{colour}" {more}/>'
    )
    for x in ticks(x0, x1):
        line((x_of(x), y_of(y0)), (x_of(x), y_of(y1)), "#ddd")
        text(x_of(x), HEIGHT - BOTTOM + 18, label(x, "B"), 'text-anchor="middle"')
    for y in ticks(y0, y1):
        line((x_of(x0), y_of(y)), (x_of(x1), y_of(y)), "#ddd")
        text(LEFT - 8, y_of(y) + 4, label(y, "s"), 'text-anchor="end"')
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "bytes read by one query", 'text-anchor="middle"')
    text(LEFT, 18, "time of one query; dashed: linear in bytes, through the largest")
    for i, (name, line_points) in enumerate(series.items()):
        colour = COLOURS[name]
        read, seconds = line_points[-1]
        start = max(x0, read * y0 / seconds)
        line((x_of(start), y_of(seconds * start / read)), (x_of(read), y_of(seconds)), colour, 'stroke-dasharray="4 4" opacity="0.6"')
        for x, y in line_points:
            out.append(f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4" fill="{colour}"><title>{name}: {label(x, "B")}, {y * 1e3:.2f} ms</title></circle>')
        out.append(f'<circle cx="{WIDTH - RIGHT + 14}" cy="{TOP + 14 + 20 * i}" r="4" fill="{colour}"/>')
        text(WIDTH - RIGHT + 24, TOP + 18 + 20 * i, name)
    return "\n".join([*out, "</svg>", ""])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="+")
    arguments.add_argument("-o", "--out", required=True)
    options = arguments.parse_args()
    series = points(options.files)
    for name, line in series.items():
        steps = [f"{read / 1e6:,.0f} MB {seconds * 1e3:,.2f} ms ({read / seconds / 1e9:.1f} GB/s)" for read, seconds in line]
        print(f"{name}: {'; '.join(steps)}")
    with open(options.out, "w") as out:
        out.write(svg(series))


if __name__ == "__main__":
    main()
