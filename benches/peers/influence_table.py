"""The tables of benches/peers/influence.py's measurements, as Markdown.

    python benches/peers/influence_table.py FILE.jsonl...

best and median are of all timed runs. A ratio is that of the bests, and after the bar the median over rounds of that of the best runs of one
round; `of probe` is that of the bytes read per second to the larger of the two bandwidth probes around the run, its median and best. Asks are
those of the issue; they were made for 100,000 x 4,096.
"""

import json
import statistics
import sys

# Ratio to the exact scan for one query by set: below and above 55 GB/s of the probe.
CASCADE = {"noise": (3.5, 2.5), "spread": (4.5, 3.0), "outlier": (10.0, 7.0)}
FAST = 55.0
ORDER = ["exact", "certified", "cascade", "torch bf16", "torch f16", "torch f32", "faiss flat f32", "faiss SQ8"]


def ask(name, tool, queries, probe):
    fast = probe >= FAST
    if queries == 1:
        if tool == "exact":
            return "0.95 of probe; 1.0x torch bf16"
        if tool == "certified":
            return f"{1.6 if fast else 1.9}x exact"
        if tool == "cascade" and name in CASCADE:
            return f"{CASCADE[name][fast]}x exact"
    if queries == 16:
        return {"exact": "1.1x torch bf16 (or certified)", "cascade": "2.5x torch bf16"}.get(tool, "")
    if queries == 256:
        return {"exact": "1.0x torch bf16 (or certified)", "cascade": "1.75x torch bf16"}.get(tool, "")
    return ""


def main():
    groups = {}
    for path in sys.argv[1:]:
        for line in map(json.loads, open(path)):
            if "round" in line:
                # Rounds are those of one file.
                key = (path, line["set"], line["rows"], line["dim"], line["each"])
                groups.setdefault(key, {}).setdefault(line["queries"], {}).setdefault(line["tool"], []).append(line)
    for (_, name, rows, dim, each), counts in groups.items():
        print(f"\n### {name}, {rows:,} x {dim:,}" + ("" if each == "sample" else f", a ranking for each {each}"))
        for queries, tools in sorted(counts.items()):
            probes = [probe for lines in tools.values() for line in lines for probe in line["probe"]]
            probe = statistics.median(probes)
            print(f"\n{queries} {'query' if queries == 1 else 'queries'}; probe {min(probes):.0f} to {max(probes):.0f} GB/s, median {probe:.0f}\n")
            print("| | best ms | median ms | x exact | x torch bf16 | of probe | MB read | rows scored | planes: rows left of | ask |")
            print("|---|---|---|---|---|---|---|---|---|---|")
            by_round = lambda tool: {line["round"]: line for line in tools.get(tool, [])}

            def ratio(tool, to):
                mine, other = by_round(tool), by_round(to)
                each = [min(other[r]["ms"]) / min(mine[r]["ms"]) for r in mine if r in other]
                if not each:
                    return ""
                best = lambda lines: min(ms for line in lines for ms in line["ms"])
                return f"{best(tools[to]) / best(tools[tool]):.2f} / {statistics.median(each):.2f}"

            for tool, lines in sorted(tools.items(), key=lambda item: ORDER.index(item[0]) if item[0] in ORDER else len(ORDER)):
                times = [ms for line in lines for ms in line["ms"]]
                last = lines[-1]
                read = last.get("bytes_read", last.get("bytes", 0))
                shares = [read / min(line["ms"]) / 1e6 / max(line["probe"]) for line in lines]
                planes = ", ".join(f"{p['plane']} {p['rows'] - p['excluded']:,} of {p['rows']:,}" for p in last.get("planes", []))
                planes += " (every row scored)" if tool in ("certified", "cascade") and not last["planes"] else ""
                cells = [
                    tool,
                    f"{min(times):.2f}",
                    f"{statistics.median(times):.2f}",
                    ratio(tool, "exact"),
                    ratio(tool, "torch bf16"),
                    f"{statistics.median(shares):.2f} / {max(shares):.2f}",
                    f"{read / 1e6:,.0f}",
                    f"{last['rows_scored']:,}" if "rows_scored" in last else "",
                    planes,
                    ask(name, tool, queries, probe),
                ]
                print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
