"""Covariance scores of stored losses: seconds by number of rows, beside numpy with the losses in memory.

    python benches/daunce_scores.py GSTORE [--rows 25000,100000] [--models 256] [--queries 100] [--rounds 5] [--out FILE.jsonl]

GSTORE is a release build; this Python has numpy. Losses are drawn. Our clock covers the whole process, from its start to the
written answer: the ten best rows of each query with their errors. That of numpy covers centring, the product in double
precision and the ten best, of losses that it has already; it has no errors.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy

from measured import Notes, ours


def written(path, name, count):
    with path.open("w", encoding="utf-8") as out:
        for row in range(count):
            out.write(json.dumps({"id": f"{name}{row}", "prompt": f"{row}", "completion": "x"}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=Path)
    parser.add_argument("--rows", default="25000,100000")
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    note = Notes(options.out)

    medians = {}
    for count in map(int, options.rows.split(",")):
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            drawn = numpy.random.default_rng(count)
            base = {"pool": count, "queries": options.queries}
            losses = {name: (2 + drawn.standard_normal((options.models, size)) * 0.1).astype(numpy.float32) for name, size in base.items()}
            tables = []
            for name, size in base.items():
                written(work / f"{name}.jsonl", name, size)
                numpy.save(work / f"{name}.npy", losses[name])
                (work / f"{name}.txt").write_text("".join(f"{name}{row}\n" for row in range(size)), encoding="utf-8")
                ours(options.gstore, "add", "--store", work / "s", "--dataset", name, "--data", work / f"{name}.jsonl", "--quiet")
                tables.append({"dataset": name, "losses": f"{name}.npy", "rows": f"{name}.txt"})
            manifest = {"ensemble": "e", "base": "drawn", "signal": "loss", "orientation": "model_major",
                        "models": [{"id": f"m{model:03}"} for model in range(options.models)], "tables": tables}
            (work / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            ours(options.gstore, "import", "--store", work / "s", "--from", "daunce", work / "manifest.json", "--quiet")
            sql = "SELECT target, id, score, se FROM daunce('pool', 'queries', each => 'sample', k => 10)"
            found = []
            for _ in range(options.rounds):
                _, seconds, peak = ours(options.gstore, "query", sql, "--store", work / "s", "-o", work / "best.csv", "--force", "--quiet")
                began = time.monotonic()
                wide = {name: values.astype(numpy.float64) for name, values in losses.items()}
                centred = {name: values - values.mean(axis=0) for name, values in wide.items()}
                scores = centred["queries"].T @ centred["pool"]
                best = numpy.argpartition(-scores, 10, axis=1)[:, :10]
                theirs = time.monotonic() - began
                found.append((seconds, theirs))
                note(rows=count, models=options.models, queries=options.queries, seconds=round(seconds, 3), peak_rss_mb=peak,
                     numpy_seconds=round(theirs, 3), best=len(best))
            medians[count] = statistics.median(seconds for seconds, _ in found)
            note(rows=count, median_seconds=round(medians[count], 3), numpy_median=round(statistics.median(t for _, t in found), 3))


if __name__ == "__main__":
    main()
