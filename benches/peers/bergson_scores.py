"""Peer of preconditioned scores: bergson 2.5.1's own pipelines on a CPU, from the LoRA adapter of one checkpoint.

`--method cosine` and `dot` compare projected gradients as they are; `trackstar` goes through the mixed Hessians of rows and
queries, `trak` through the Gram matrix of the rows, with bergson's function (the log-odds) and weights. Rows are given
as the tokens and labels that gstore trains on. Losses are the sum over a row's scored tokens, bergson's default, or
their mean (`--reduction mean`). Each module is projected to `--dim` x `--dim` (0: not at all), for `trak` the whole gradient
to `--dim` numbers; by default as in bergson: cosines of whole gradients, and 16 x 16 for `trackstar`.
`--damping` is a part of the mean eigenvalue. The clock covers the library's steps with their files. Prints one line of JSON.

    python benches/peers/bergson_scores.py MODEL ROWS.jsonl QUERIES.jsonl --checkpoint CHECKPOINT --scores FILE.csv
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import sys
import tempfile
import time

# Before datasets and transformers are loaded: nothing is looked up on the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy
import score_table
import torch
from bergson.build import build_query
from bergson.cli.trackstar import trackstar
from bergson.cli.trak import trak
from bergson.config.config import DataConfig, IndexConfig, InversionConfig, PreprocessConfig, QuerySetConfig, ScoreConfig, TrackstarConfig, TrakConfig
from bergson.data import load_scores
from bergson.score.score import score_dataset


def written(path, encoded):
    """A file of token ids and labels, which bergson takes as they are."""
    lines = (json.dumps({"input_ids": ids, "labels": labels, "length": len(ids)}) for ids, labels in encoded)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def adapter(checkpoint, model, folder):
    """A copy of the adapter that names MODEL as its base: bergson loads the base that the adapter names."""
    folder.mkdir()
    config = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(model.resolve())
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "adapter_model.safetensors").symlink_to((checkpoint / "adapter_model.safetensors").resolve())
    return str(folder)


def scored(args, rows, queries, work):
    """bergson's scores [query, row]."""
    data, query = DataConfig(dataset=written(work / "rows.jsonl", rows)), QuerySetConfig(dataset=written(work / "queries.jsonl", queries))
    index = IndexConfig(
        run_path=str(work / "run"), model=adapter(args.checkpoint, args.model, work / "adapter"), tokenizer=str(args.model.resolve()), data=data,
        precision="fp32", projection_dim=args.dim, projection_seed=args.seed, loss_reduction=args.reduction, token_batch_size=args.max_length,
    )
    inverse = PreprocessConfig(inversion_cfg=InversionConfig(damping_factor=args.damping))
    if args.method == "trak":
        index.loss_fn, index.projection_target = "log_odds", "global"
        trak(index, TrakConfig(query=query, preprocess_cfg=inverse))
    elif args.method == "trackstar":
        inverse.unit_normalize = True
        trackstar(index, TrackstarConfig(query=query, preprocess_cfg=inverse, target_downweight_components=args.components))
    else:
        plain = PreprocessConfig(unit_normalize=args.method == "cosine")
        index.run_path = str(work / "run/query")
        asked = build_query(index, query, plain)
        index.run_path, index.data = str(work / "run/scores"), data
        score_dataset(index, ScoreConfig(query_path=asked), plain)
    found = load_scores(work / "run/scores")
    if not found.is_written():
        sys.exit("bergson left scores out")
    return numpy.asarray(found[:]).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    score_table.arguments(parser)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True, help="folder of a LoRA adapter")
    parser.add_argument("--method", choices=["cosine", "dot", "trackstar", "trak"], default="trackstar")
    parser.add_argument("--dim", type=int, help="default: cosine and dot 0, trackstar 16, trak 2048")
    parser.add_argument("--damping", type=float, default=0.1)
    parser.add_argument("--components", type=int, default=1000, help="of trackstar, those that the mixed Hessian turns down")
    parser.add_argument("--reduction", choices=["sum", "mean"], default="sum")
    args = parser.parse_args()
    if args.dim is None:
        args.dim = {"trackstar": 16, "trak": 2048}.get(args.method, 0)
    torch.set_num_threads(args.threads)
    (row_ids, rows), (query_ids, queries) = score_table.both(args)
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        began = time.monotonic()
        found = scored(args, rows, queries, pathlib.Path(work))
        seconds = time.monotonic() - began
    if args.scores:
        score_table.write(args.scores, row_ids, query_ids, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": len(rows), "queries": len(queries), "method": args.method, "dim": args.dim, "damping": args.damping,
                      "reduction": args.reduction, "seconds": round(seconds, 1), "mean_abs_score": float(abs(found).mean()),
                      "peak_rss_mb": round(peak, 1), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
