"""Bytes of stored eigenbasis rows against the rank correlation of their scores with those of full gradients.

    python benches/eigenbasis.py GSTORE --shared ../shared [--rows 640] [--queries 24] [--sizes 64,all] [--dtypes i8] [--out FILE.jsonl]

GSTORE is a release build; this Python has numpy. The reference are EK-FAC scores by recomputation (`gstore score`, damping a
tenth of each module's mean eigenvalue); every layout is ingested and asked by `influence()`. Beside them are scores of
gradients without curvature. The size `all` keeps every coordinate of a module: what is lost then is the type's, and a byte
for each has to keep a mean Spearman of 0.995.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy

from measured import Notes, ours

# The largest --module-dim: a module has no more coordinates than there are.
WHOLE = 16_777_216
# Least mean Spearman of i8 with all coordinates.
WHITENED_BYTES = 0.995


def ranks(values):
    order = numpy.argsort(values, kind="stable")
    places = numpy.empty(len(values))
    places[order] = numpy.arange(len(values))
    return places


class Bench:
    def __init__(self, options, work):
        self.options, self.store, self.table = options, work / "store", work / "scores.csv"
        self.note = Notes(options.out)

    def run(self, *command):
        return ours(self.options.gstore, *command, "--store", self.store, "--quiet")

    def scores(self, query, target):
        """Scores of the pool by id, of each query."""
        with self.table.open(encoding="utf-8") as lines:
            found = {}
            for line in csv.DictReader(lines):
                found.setdefault(line[query], {})[line[target]] = float(line["score"])
        return found

    def asked(self, pool, queries):
        # Each layout has the rows of the fit under another name, on which the factors are not known to be fitted.
        self.run("query", f"SELECT target, id, score FROM influence('{pool}', '{queries}', sim => 'dot', each => 'sample', k => 1000000, "
                 "precondition => 'f', stale => true)", "-o", self.table, "--force")
        return self.scores("target", "id")

    def compared(self, name, truth, found, **more):
        rows = []
        for query, wanted in truth.items():
            ids = list(wanted)
            want, have = (numpy.array([scores[i] for i in ids]) for scores in (wanted, found[query]))
            best, ours_ = numpy.argsort(-want)[:10], numpy.argsort(-have)
            rows.append((numpy.corrcoef(ranks(want), ranks(have))[0, 1],
                         len(set(best) & set(ours_[:10])) / 10, len(set(best) & set(ours_[:64])) / 10))
        spearman, ten, many = numpy.mean(rows, axis=0)
        self.note(layout=name, **more, spearman=round(float(spearman), 4), top10_in_top10=round(float(ten), 3),
                  top10_in_top64=round(float(many), 3), least_spearman=round(float(min(row[0] for row in rows)), 4))
        return float(spearman)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--dtypes", default="f16,i8,i1")
    parser.add_argument("--sizes", default="64,256,1024,4096,all", help="coordinates of a module")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    layouts = [(size, dtype) for size in options.sizes.split(",") for dtype in options.dtypes.split(",")]
    with tempfile.TemporaryDirectory() as work:
        bench, model = Bench(options, Path(work)), options.shared / "models/tiny-llama"
        pool = (options.shared / "data/pool.jsonl").read_text(encoding="utf-8").splitlines(True)
        step = max(len(pool) // options.rows, 1)
        targets = (path.read_text(encoding="utf-8").splitlines(True) for path in sorted((options.shared / "data/targets").glob("*.jsonl")))
        texts = {"pool": pool[::step][: options.rows], "queries": [line for group in zip(*targets) for line in group][: options.queries]}
        for name, lines in texts.items():
            (Path(work) / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        common = ["--model", model, "--template", "tulu", "--max-length", 512]

        def added(suffix):
            for name in texts:
                bench.run("add", "--dataset", name + suffix, "--data", Path(work) / f"{name}.jsonl")

        added("")
        bench.run("factors", "fit", "f", "--dataset", "pool", *common)
        truth = {}
        for filters in ("inverse", "identity"):
            bench.run("score", "--factors", "f", "--pool", "pool", "--target", "queries", "--filter", filters, "-o", bench.table, "--force")
            truth[filters] = bench.scores("query", "id")
        bench.compared("full gradients, no curvature", truth["inverse"], truth["identity"])
        for size, dtype in layouts:
            suffix = f"_{size}_{dtype}"
            added(suffix)
            for name in texts:
                # Questions are few: their rows stay in f32, as a preconditioned query is.
                bench.run("ingest", "--dataset", name + suffix, *common, "--features", "grad-sgd", "--projection", "ekfac",
                          "--factors", "f", "--module-dim", WHOLE if size == "all" else size, "--dtype", dtype if name == "pool" else "f32")
            dim = bench.run("query", f"SELECT dim FROM gstore.features WHERE dataset = 'pool{suffix}'")[0].split()[-1]
            kept = bench.compared(f"eigenbasis, {size} a module", truth["inverse"], bench.asked("pool" + suffix, "queries" + suffix),
                                  dtype=dtype, coordinates=int(dim))
            if (size, dtype) == ("all", "i8") and kept < WHITENED_BYTES:
                raise SystemExit(f"all coordinates as bytes keep a Spearman of {kept:.4f}, and {WHITENED_BYTES} is expected")


if __name__ == "__main__":
    main()
