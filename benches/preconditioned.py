"""Scores by gstore and by its peers, from JSONL to a file of scores, in alternating rounds.

`trak` and `cosine` are those of one adapter by bergson: `trak` is preconditioned by the Gram matrix of the rows, `cosine`
is not, and the two ratios show whether preconditioning costs gstore more of its lead. `logra` is that of a whole model's
linear layers by dattri and by LogIX, each with the fastest of several batches. Both sides have the same weights, output
function, damping and size of the projection (`lds_same.py`), and their agreement is printed: projections are random, so
only cosines are equal.

    python benches/preconditioned.py GSTORE SHARED [--methods cosine,trak,logra] [--rows 1000] [--queries 48] [--rounds 2] [--out FILE.jsonl]
"""

import argparse
import itertools
import json
import pathlib
import tempfile

import numpy
from lds_same import Ours
from measured import Notes, peer
from scipy.stats import spearmanr

# Our name of each method, and its peers.
METHODS = {"cosine": ("cosine", ["bergson"]), "trak": ("trak_margin", ["bergson"]), "logra": ("logra", ["dattri", "logix"])}
BATCHES = [4, 16, 32]


def scores(path):
    """The table of a file of scores."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = header.split(",")
    key = [names.index("id"), names.index("target" if "target" in names else "query")]
    rows = (line.split(",") for line in lines)
    return {tuple(row[at] for at in key): float(row[names.index("score")]) for row in rows}


def agreement(ours, theirs):
    """The median over queries of the rank correlation of their rows."""
    (ours, theirs), found = (scores(path) for path in (ours, theirs)), []
    for _, keys in itertools.groupby(sorted(ours, key=lambda key: key[1]), key=lambda key: key[1]):
        keys = list(keys)
        found.append(spearmanr([ours[key] for key in keys], [theirs[key] for key in keys]).statistic)
    return round(float(numpy.median(found)), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=pathlib.Path)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    note = Notes(args.out)
    model = args.shared / "models/tiny-llama"
    checkpoints = sorted(args.shared.glob("models/tiny-llama-warmup/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        texts = []
        for name, source, count in (("pool", "pool.jsonl", args.rows), ("queries", "targets/gsm8k.jsonl", args.queries)):
            texts.append(work / f"{name}.jsonl")
            with open(args.shared / "data" / source, encoding="utf-8") as lines:
                texts[-1].write_text("".join(itertools.islice(lines, count)), encoding="utf-8")
        ours = Ours(args.gstore, work / "ours", model, texts, checkpoints)
        for seed, method in itertools.product(range(args.rounds), args.methods.split(",")):
            name, peers = METHODS[method]
            found = ours.scores(name, seed)
            line = {"method": method, "rows": args.rows, "queries": args.queries,
                    "ours": json.loads(found.with_suffix(".json").read_text(encoding="utf-8"))["seconds"]}
            for library in peers:
                theirs = work / f"{library}.csv"
                more = [model, *texts, "--seed", seed, "--scores", theirs]
                if method == "logra":
                    done = min((peer("logra_scores.py", library, *more, "--batch", batch) for batch in BATCHES), key=lambda done: done["seconds"])
                else:
                    done = peer("bergson_scores.py", *more, "--checkpoint", checkpoints[-1], "--method", method)
                line |= {library: done["seconds"], f"{library}_ratio": round(done["seconds"] / line["ours"], 2),
                         f"{library}_agreement": agreement(found, theirs)}
            note(**line)


if __name__ == "__main__":
    main()
