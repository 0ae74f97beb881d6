"""Own perturbed copies of tiny-llama against the reference's losses, LESS and leaving families out.

    python benches/daunce_truth.py FOLDER [--gstore target/release/gstore] [--models 32] [--compute bf16] [--threads 2]
        [--out FILE.jsonl]

Rows and queries are those of golden/daunce, copies go on from its theta0 by its recipe: 16 steps of 16 rows, rate
1e-3, rho and gamma 1. Of each score (covariance, correlation; centred by row, or by row and model) the line says

- own_family: share of the first 28 rows that are of the query's own family, mean over the queries (chance 1/7)
- split_half, overlap: agreement of the even and the odd copies: Spearman, and the first 20 rows in common
- less: Spearman with LESS scores (Adam features of the rows, SGD features of the queries, cosine), mean over the queries
- families: Spearman over the seven families of summed scores with the rise of the query's loss when the family is
  left out of theta0's training (retrained by the reference); most_helpful: queries whose most helpful family is found

for the copies of this program (`ours`) and for the reference's losses (`reference`), and whether `ours` finds as much
of the own family: not less than the reference's share minus the distance between the shares of two halves of its
models (`error`: the root mean square over ten random splits).

FOLDER keeps data, store, copies, scores and times: the same command goes on after a stop, one with other options is refused. One line of JSON is printed,
and added to --out. Needs nothing but Python and GSTORE_SHARED (default ../shared).
"""

import argparse
import csv
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP = 28
SPLITS = 10
FORMS = [("cov", "row"), ("corr", "row"), ("cov", "both"), ("corr", "both")]
CENTERS = {"row": "example", "both": "example+model"}


def tensors(path):
    """Tensors of a safetensors file by name: a reader of rows of floats or whole numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])

    def read(name):
        entry = header[name]
        letter, size = {"F64": ("d", 8), "F32": ("f", 4), "I16": ("h", 2)}[entry["dtype"]]
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        values = struct.unpack(f"<{(end - first) // size}{letter}", data[first:end])
        width = entry["shape"][-1]
        rows = [list(values[at : at + width]) for at in range(0, len(values), width)]
        return rows[0] if len(entry["shape"]) == 1 else rows

    return read


def ranks(values):
    """Ranks from 0, the mean of them where values are equal."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, first = [0.0] * len(values), 0
    while first < len(order):
        end = first
        while end + 1 < len(order) and values[order[end + 1]] == values[order[first]]:
            end += 1
        for at in range(first, end + 1):
            found[order[at]] = (first + end) / 2
        first = end + 1
    return found


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    mean = (len(a) - 1) / 2
    a, b = [x - mean for x in a], [x - mean for x in b]
    below = (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5
    return sum(x * y for x, y in zip(a, b)) / below if below else None


def average(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


class Truth:
    """The reference: rows, queries, scores and losses of models that were trained without a family."""

    def __init__(self, golden):
        self.manifest = json.loads((golden / "manifest.json").read_text(encoding="utf-8"))
        self.read = tensors(golden / "daunce.safetensors")
        self.sources = self.manifest["train_source"]
        self.families = sorted(set(self.sources))
        own = [query["target"] for query in self.manifest["queries"]]
        self.own = ["math" if target == "gsm8k" else target for target in own]
        base = self.read("base_query_loss")
        without = {name: self.read(f"without.source-{name}.query_loss") for name in self.families}
        self.rises = [[without[name][q] - base[q] for name in self.families] for q in range(len(base))]
        self.less = self.by_query("gradient.less")

    def by_query(self, name):
        return [list(column) for column in zip(*self.read(name))]

    def own_family(self, scores):
        """`scores`: for each query those of the rows."""
        shares = []
        for own, values in zip(self.own, scores):
            best = sorted(range(len(values)), key=lambda row: (-values[row], row))[:TOP]
            shares.append(sum(self.sources[row] == own for row in best) / TOP)
        return average(shares)

    def judge(self, scores, less):
        sums = [[sum(v for v, s in zip(values, self.sources) if s == name) for name in self.families] for values in scores]
        helpful = [max(range(len(s)), key=s.__getitem__) == max(range(len(r)), key=r.__getitem__)
                   for s, r in zip(sums, self.rises)]
        return {
            "own_family": self.own_family(scores),
            "less": average(spearman(a, b) for a, b in zip(scores, less)),
            "families": average(spearman(s, r) for s, r in zip(sums, self.rises)),
            "most_helpful": sum(helpful) / len(helpful),
        }

    def error(self, score, center):
        """Distance between the shares of the own family by two halves of the reference's models."""
        rows, queries = self.read("train_loss"), self.read("query_loss")
        draw, squares = random.Random(0), 0.0
        for _ in range(SPLITS):
            order = draw.sample(range(len(rows)), len(rows))
            halves = [order[half::2] for half in (0, 1)]
            shares = [self.own_family(covariances([rows[k] for k in half], [queries[k] for k in half], score, center))
                      for half in halves]
            squares += (shares[0] - shares[1]) ** 2
        return (squares / SPLITS) ** 0.5


def covariances(rows, queries, score, center):
    """Scores by query from the losses of models, one list of each model."""
    if center == "both":
        means = [sum(model) / len(model) for model in rows]
        rows, queries = ([[x - m for x in model] for model, m in zip(side, means)] for side in (rows, queries))

    def centred(side):
        found = []
        for losses in zip(*side):
            mean = sum(losses) / len(losses)
            losses = [x - mean for x in losses]
            norm = sum(x * x for x in losses) ** 0.5 if score == "corr" else 1.0
            found.append([x / norm for x in losses] if norm else losses)
        return found

    rows, queries = centred(rows), centred(queries)
    return [[sum(map(float.__mul__, row, query)) for row in rows] for query in queries]


class Work:
    """Commands of a folder, with the seconds that each has taken over all runs."""

    def __init__(self, folder, gstore, threads):
        self.folder, self.gstore, self.threads = folder, gstore, threads
        self.file = folder / "times.json"
        self.times = json.loads(self.file.read_text()) if self.file.exists() else {}

    def run(self, name, *command, once=True):
        """What a command prints; not run again if it is done, unless its answer is wanted."""
        entry = self.times.setdefault(name, {"seconds": 0.0, "done": False})
        if once and entry["done"]:
            return None
        words = [self.gstore, *command, "--store", self.folder / "store", "--threads", self.threads, "--quiet"]
        begun = time.monotonic()
        done = subprocess.run(list(map(str, words)), cwd=self.folder, stdout=subprocess.PIPE, text=True)
        entry["seconds"] = time.monotonic() - begun + (entry["seconds"] if once else 0.0)
        entry["done"] = done.returncode == 0
        self.file.write_text(json.dumps(self.times, indent=1))
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, words))}\nended with {done.returncode}; the same command goes on from here")
        return done.stdout


def write(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def data(work, shared, truth):
    """Registers rows and queries, in the order of the reference."""
    lines = lambda path: [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    pool = lines(shared / "data/pool.jsonl")
    write(work.folder / "pool.jsonl", "".join(pool[row] + "\n" for row in truth.manifest["train_rows"]))
    targets, chosen = {}, []
    for query in truth.manifest["queries"]:
        name = query["target"]
        targets.setdefault(name, lines(shared / "data/targets" / f"{name}.jsonl"))
        record = json.loads(targets[name][query["row"]])
        chosen.append(json.dumps({**record, "id": f"{name}-{query['row']}"}) + "\n")
    write(work.folder / "queries.jsonl", "".join(chosen))
    for dataset in ("pool", "queries"):
        work.run(f"add {dataset}", "add", "--dataset", dataset, "--data", f"{dataset}.jsonl")
    ids = lambda dataset: [json.loads(line)["id"] for line in lines(work.folder / f"{dataset}.jsonl")]
    return ids("pool"), ids("queries")


def scores(work, name, relation, rows, queries):
    """Scores by query of a relation of SQL that ranks all rows for each query."""
    file = work.folder / f"scores-{name}.csv"
    statement = f"SELECT target, id, score FROM {relation}"
    work.run(f"scores {name}", "query", statement, "-o", file.name, "--force")
    place = {id: at for at, id in enumerate(rows)}
    found = {query: [float("-inf")] * len(rows) for query in queries}
    with file.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            found[line["target"]][place[line["id"]]] = float(line["score"])
    return [found[query] for query in queries]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gstore", default="target/release/gstore")
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--compute", default="f32", choices=["f32", "bf16"], help="of the copies' training; losses are taken in f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    shared = pathlib.Path(os.environ.get("GSTORE_SHARED", ROOT.parent / "shared")).resolve()
    golden, model = shared / "golden/daunce", shared / "models/tiny-llama"
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    gstore = pathlib.Path(shutil.which(args.gstore) or args.gstore).resolve()
    asked = {"models": args.models, "steps": args.steps, "compute": args.compute, "gstore": str(gstore)}
    if (folder / "asked.json").exists() and json.loads((folder / "asked.json").read_text()) != asked:
        sys.exit(f"{folder} is of other options: {(folder / 'asked.json').read_text()}")
    write(folder / "asked.json", json.dumps(asked))
    truth, work = Truth(golden), Work(folder, gstore, args.threads)
    rows, queries = data(work, shared, truth)
    recipe = truth.manifest["perturbation"]
    text = ("--template", truth.manifest["template"])
    work.run("train", "daunce", "train", "--model", model, "--adapter", golden / "theta0", "--dataset", "pool", "--models",
             args.models, "--steps", args.steps, "--batch-size", recipe["batch"], "--learning-rate", recipe["lr"],
             "--compute", args.compute, "--output", "copies", *text)
    for dataset in ("pool", "queries"):
        work.run(f"losses {dataset}", "daunce", "losses", "--ensemble", "copies", "--dataset", dataset, *text)
    for dataset, kind in (("pool", "grad-adam"), ("queries", "grad-sgd")):
        work.run(f"features {dataset}", "ingest", "--dataset", dataset, "--model", model, "--checkpoints", golden / "theta0",
                 "--weights", 1, "--run", "theta0", "--features", kind, "--projection", "none", "--dtype", "f32", *text)
    each = f"each => 'sample', k => {len(rows)}"
    less = scores(work, "less", f"influence('pool', 'queries', {each})", rows, queries)
    result = {"models": args.models, "compute": args.compute, "steps": args.steps, "rows": len(rows), "queries": len(queries), "chance": 1 / len(truth.families),
              "less": {"ours": truth.judge(less, truth.less), "reference": truth.judge(truth.less, less)}, "scores": {}}
    for score, center in FORMS:
        options = f"ensemble => 'copies', score => '{score}', center => '{center}', {each}"
        found = scores(work, f"{score}-{center}", f"daunce('pool', 'queries', {options})", rows, queries)
        agreement = json.loads(work.run(f"agreement {score} {center}", "daunce", "agreement", "--ensemble", "copies", "--pool",
                                        "pool", "--target", "queries", "--score", score, "--center", center, "--json", once=False))
        last = agreement["at"][-1] if agreement["at"] else {}
        ours = truth.judge(found, less)
        ours.update(split_half=last.get("split_half"), overlap=last.get("top_overlap"))
        reference = truth.judge(truth.by_query(f"{score}.{CENTERS[center]}"), truth.less)
        of = [line for line in truth.manifest["agreement"] if (line["score"], line["center"]) == (score, CENTERS[center])]
        reference.update(split_half=of[-1]["split_half_spearman"], overlap=of[-1]["split_half_top20_overlap"], models=of[-1]["models"])
        error = truth.error(score, center)
        result["scores"][f"{score} {center}"] = {
            "ours": ours, "reference": reference, "error": error,
            "as_good": ours["own_family"] >= reference["own_family"] - error,
        }
    result["seconds"] = {name: round(entry["seconds"], 2) for name, entry in work.times.items()}
    line = json.dumps(result)
    print(line)
    if args.out:
        with args.out.open("a") as out:
            out.write(line + "\n")


if __name__ == "__main__":
    main()
