"""Peers of the influence scan: top 100 of a matrix product by torch, and FAISS's flat and scalar-quantised indexes. One JSON line each.

    python benches/peers/scan_peers.py --rows 100000 --dim 4096 --queries 1,16,256 --threads 2 [--rounds 5] [--vectors FILE.npy]

Without a file the rows are Gaussian. Every figure is the best of the rounds, with everything in memory and used before; building an
index and converting rows are not in the clock. `peak_rss_mb` is the process's, all of its matrices together.
"""

import argparse
import json
import resource
import time

import numpy
import torch


def best(rounds, work):
    work()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def report(tool, count, seconds, stored):
    line = {"tool": tool, "queries": count, "ms": round(seconds * 1e3, 3), "gb_per_s": round(stored / seconds / 1e9, 2)}
    print(json.dumps(line), flush=True)


def with_torch(vectors, queries, counts, options):
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
        rows = torch.from_numpy(vectors).to(dtype)
        for count in counts:
            of = torch.from_numpy(queries[:count]).to(dtype)

            def work():
                # Scores as [queries, rows]: the top of each is then contiguous.
                return torch.topk(of @ rows.T if count > 1 else (rows @ of[0])[None], options.top, dim=1)

            report(f"torch {name}", count, best(options.rounds, work), rows.numel() * rows.element_size())
        del rows


def with_faiss(vectors, queries, counts, options):
    import faiss

    faiss.omp_set_num_threads(options.threads)
    dim = vectors.shape[1]
    kinds = {
        "flat f32": (lambda: faiss.IndexFlatIP(dim), 4),
        "SQfp16": (lambda: faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT), 2),
        "SQ8": (lambda: faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT), 1),
    }
    for name, (make, width) in kinds.items():
        index = make()
        index.train(vectors)
        index.add(vectors)
        for count in counts:
            seconds = best(options.rounds, lambda: index.search(queries[:count], options.top))
            report(f"faiss {name}", count, seconds, vectors.size * width)
        del index


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--dim", type=int, default=4096)
    arguments.add_argument("--queries", default="1,16,256")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--top", type=int, default=100)
    arguments.add_argument("--vectors", help=".npy of f32 rows instead of random ones")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    counts = [int(count) for count in options.queries.split(",")]
    numbers = numpy.random.default_rng(1)
    if options.vectors:
        vectors = numpy.ascontiguousarray(numpy.load(options.vectors), dtype=numpy.float32)
    else:
        vectors = numbers.standard_normal((options.rows, options.dim), dtype=numpy.float32)
    queries = numbers.standard_normal((max(counts), vectors.shape[1]), dtype=numpy.float32)
    with_torch(vectors, queries, counts, options)
    with_faiss(vectors, queries, counts, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"tool": "peers", "rows": vectors.shape[0], "dim": vectors.shape[1], "threads": options.threads, "peak_rss_mb": round(peak, 1), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
