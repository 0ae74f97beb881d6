"""Factors of curvature and scores with them beside Kronfluence, in turn, in one run.

    python benches/factors.py GSTORE --shared ../shared [--rows 128] [--queries 64] [--rounds 3] [--out FILE.jsonl]

GSTORE is a release build; this Python has torch, transformers and kronfluence 1.0.1. Two threads each, all linear layers
of the blocks, empirical Fisher, EK-FAC, damping a tenth of the mean. Clocks cover the steps with their files; of our
scores the whole process, with loading and encoding. The peer's best batch of 1, 4, 8 and 16 is taken. "stored scores" are
those of rows that lie in the eigenbasis already (f16, 1,024 coordinates a module), by `gstore query`, the whole process;
their ingest is timed once, apart.
"""

import argparse
import csv
import json
import statistics
import tempfile
from pathlib import Path

from measured import Notes, ours, peer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", default="models/tiny-llama")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="1,4,8,16")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    note = Notes(options.out)

    model = options.shared / options.model
    with tempfile.TemporaryDirectory() as work:
        rows, queries, store = (Path(work) / name for name in ("rows.jsonl", "queries.jsonl", "store"))
        lines = (options.shared / "data/pool.jsonl").read_text(encoding="utf-8").splitlines(True)
        rows.write_text("".join(lines[: options.rows]), encoding="utf-8")
        targets = (path.read_text(encoding="utf-8").splitlines(True) for path in sorted((options.shared / "data/targets").glob("*.jsonl")))
        few = [line for group in zip(*targets) for line in group][: options.queries]
        queries.write_text("".join(few), encoding="utf-8")
        for name, path in (("pool", rows), ("queries", queries)):
            ours(options.gstore, "add", "--store", store, "--dataset", name, "--data", path, "--quiet")
        sizes = options.batches.split(",")
        batch = int(sizes[0])
        if len(sizes) > 1:
            choices = [peer("kronfluence_factors.py", model, rows, queries, "--batch", size) for size in sizes]
            for line in choices:
                note(who="kronfluence, choice of batch", **line)
            batch = min(choices, key=lambda line: sum(line["seconds"].values()))["batch"]
        ratios, stored = {}, False
        for _ in range(options.rounds):
            theirs = peer("kronfluence_factors.py", model, rows, queries, "--batch", batch)
            note(who="kronfluence", **theirs)
            text, whole, peak = ours(
                options.gstore, "factors", "fit", "f", "--store", store, "--dataset", "pool", "--model", model, "--fisher",
                "empirical", "--template", "tulu", "--max-length", 512, "--threads", 2, "--force", "--json", "--quiet",
            )
            seconds = json.loads(text)["seconds"]
            table = Path(work) / "scores.csv"
            _, seconds["scores"], scoring = ours(
                options.gstore, "score", "--store", store, "--factors", "f", "--pool", "pool", "--target", "queries", "--threads", 2,
                "-o", table, "--force", "--quiet",
            )
            with table.open(encoding="utf-8") as lines:
                values = [abs(float(line["score"])) for line in csv.DictReader(lines)]
            if not stored:
                stored = True
                for name, dtype in (("pool", "f16"), ("queries", "f32")):
                    _, took, most = ours(
                        options.gstore, "ingest", "--store", store, "--dataset", name, "--model", model, "--features", "grad-sgd", "--projection",
                        "ekfac", "--factors", "f", "--dtype", dtype, "--template", "tulu", "--max-length", 512, "--threads", 2, "--quiet",
                    )
                    note(who="gstore", rows_into_the_eigenbasis=name, seconds=round(took, 3), peak_rss_mb=most)
            statement = f"SELECT target, id, score FROM influence('pool', 'queries', sim => 'dot', each => 'sample', k => {options.rows})"
            _, seconds["stored scores"], _ = ours(options.gstore, "query", statement, "--store", store, "-o", table, "--force", "--quiet")
            note(who="gstore", seconds={name: round(value, 3) for name, value in seconds.items()}, fit_seconds=round(whole, 3),
                 mean_abs_score=sum(values) / len(values), peak_rss_mb=max(peak, scoring))
            for name, value in [*theirs["seconds"].items(), ("stored scores", theirs["seconds"]["scores"])]:
                ratios.setdefault(name, []).append(value / seconds[name])
        for name, all_of_them in ratios.items():
            note(ratio=f"kronfluence / gstore, {name}", median=round(statistics.median(all_of_them), 2),
                 all=[round(ratio, 2) for ratio in all_of_them])


if __name__ == "__main__":
    main()
