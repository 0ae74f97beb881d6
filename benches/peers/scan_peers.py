"""Peers of influence queries: the best rows of a matrix product by torch, and by FAISS's flat and scalar-quantised indexes.

    python benches/peers/scan_peers.py --vectors FOLDER --tools "torch bf16,faiss SQ8" [--threads 2] [--top 100]

FOLDER is one of influence_vectors.py. Everything is converted and indexed once and stays in memory; then each line of standard input is a
request {"tool": ..., "queries": ..., "untimed": ..., "reps": ...}, answered by {"ms": [...], "bytes": ...} on one line.
"""

import argparse
import json
import pathlib
import resource
import sys
import time

import numpy
import torch

TORCH = {"torch bf16": torch.bfloat16, "torch f16": torch.float16, "torch f32": torch.float32}
FAISS = {"faiss flat f32": 4, "faiss SQfp16": 2, "faiss SQ8": 1}
CHUNK = 1 << 14


def with_torch(halves, queries, dtype, top):
    rows = torch.empty(halves.shape, dtype=dtype)
    for start in range(0, len(halves), CHUNK):
        rows[start : start + CHUNK] = torch.from_numpy(halves[start : start + CHUNK].astype(numpy.float32)).to(dtype)
    queries = torch.from_numpy(queries).to(dtype)

    def search(count):
        # Scores as [queries, rows]: the top of each is then contiguous.
        scores = queries[:count] @ rows.T if count > 1 else (rows @ queries[0])[None]
        return torch.topk(scores, top, dim=1).indices

    return search, rows.numel() * rows.element_size()


def with_faiss(halves, queries, tool, top, threads):
    import faiss

    faiss.omp_set_num_threads(threads)
    dim = halves.shape[1]
    scalar = faiss.ScalarQuantizer
    if tool == "faiss flat f32":
        index = faiss.IndexFlatIP(dim)
    else:
        kind = scalar.QT_fp16 if tool == "faiss SQfp16" else scalar.QT_8bit
        index = faiss.IndexScalarQuantizer(dim, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(halves[: 2 * CHUNK].astype(numpy.float32))
    for start in range(0, len(halves), CHUNK):
        index.add(halves[start : start + CHUNK].astype(numpy.float32))
    return lambda count: index.search(queries[:count], top)[1], halves.size * FAISS[tool]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--vectors", type=pathlib.Path, required=True)
    arguments.add_argument("--tools", default=",".join([*TORCH, *FAISS]))
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--top", type=int, default=100)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    meta = json.loads((options.vectors / "meta.json").read_text())
    halves = numpy.memmap(options.vectors / "rows.f16", "<f2", "r", shape=(meta["rows"], meta["dim"]))
    queries = numpy.fromfile(options.vectors / "queries.f32", "<f4").reshape(meta["queries"], meta["dim"])
    peers = {}
    for tool in options.tools.split(","):
        if tool in TORCH:
            peers[tool] = with_torch(halves, queries, TORCH[tool], options.top)
        else:
            peers[tool] = with_faiss(halves, queries, tool, options.top, options.threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ready": True, "torch": torch.__version__, "peak_rss_mib": round(peak, 1)}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        search, stored = peers[request["tool"]]
        for _ in range(request.get("untimed", 0)):
            search(request["queries"])
        times = []
        for _ in range(request.get("reps", 1)):
            begun = time.perf_counter()
            found = search(request["queries"])
            times.append((time.perf_counter() - begun) * 1e3)
        answer = {"ms": times, "bytes": stored}
        if request.get("show"):
            answer["rows"] = [int(row) for row in found[0]]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
