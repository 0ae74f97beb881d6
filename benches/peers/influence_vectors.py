"""Vectors for the benchmark of influence queries: rows as f16, queries as f32, both of unit length but where said, and meta.json.

    python benches/peers/influence_vectors.py SET OUT --rows 100000 --dim 4096 [--queries 256] [--real FOLDER]

noise    Gaussian rows and queries: scores have a standard deviation of 1 / sqrt(dim)
spread   rows with components along the queries, so that scores have one of 0.03
outlier  1 % of the rows stand out at 0.2, other ones for each query
heavy    Gaussian rows whose lengths are lognormal (sigma 1); compared by dot product
real     rows and queries of `influence real --out FOLDER`, again and again with Gaussian noise of 0.3 of their lengths
"""

import argparse
import json
import pathlib

import numpy
import torch

SPREAD = 0.03
OUTLIER = 0.2
SHARE = 0.01
NOISE = 0.3
CHUNK = 1 << 14


def real_vectors(folder):
    meta = json.loads((folder / "meta.json").read_text())
    read = lambda name, count: torch.from_numpy(numpy.fromfile(folder / name, "<f4").reshape(count, meta["dim"]))
    unit = torch.nn.functional.normalize
    return unit(read("rows.f32", meta["rows"])), unit(read("queries.f32", meta["queries"]))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("set", choices=["noise", "spread", "outlier", "heavy", "real"])
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--dim", type=int, default=4096)
    arguments.add_argument("--queries", type=int, default=256)
    arguments.add_argument("--real", type=pathlib.Path)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    unit = torch.nn.functional.normalize
    dim = options.dim
    options.out.mkdir(parents=True, exist_ok=True)
    if options.set == "real":
        known, queries = real_vectors(options.real)
        # Every so many, so that all targets are among them.
        queries = queries[torch.arange(options.queries) * len(queries) // options.queries]
        dim = known.shape[1]
    else:
        queries = unit(torch.randn(options.queries, dim))
    queries.numpy().astype("<f4").tofile(options.out / "queries.f32")
    along = (max(SPREAD**2 - 1 / dim, 0.0)) ** 0.5
    with open(options.out / "rows.f16", "wb") as out:
        for start in range(0, options.rows, CHUNK):
            count = min(CHUNK, options.rows - start)
            rows = torch.randn(count, dim)
            if options.set == "real":
                rows = unit(known[(torch.arange(count) + start) % len(known)] + NOISE * dim**-0.5 * rows)
            elif options.set == "heavy":
                rows = unit(rows) * torch.randn(count, 1).exp()
            else:
                rows = unit(rows)
                if options.set == "spread":
                    rows += along * (torch.randn(count, options.queries) @ queries)
                if options.set == "outlier":
                    rows += OUTLIER * ((torch.rand(count, options.queries) < SHARE).float() @ queries)
                rows = unit(rows)
            rows.half().numpy().astype("<f2").tofile(out)
    meta = {"set": options.set, "rows": options.rows, "dim": dim, "queries": options.queries, "sim": "dot" if options.set == "heavy" else "cosine"}
    (options.out / "meta.json").write_text(json.dumps(meta))
    print(json.dumps(meta))


if __name__ == "__main__":
    main()
