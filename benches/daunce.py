"""Perturbed copies an hour beside PyTorch, in turn, in one run.

    python benches/daunce.py GSTORE --shared ../shared [--rounds 3] [--models 16] [--out FILE.jsonl] [--no-compile]

GSTORE is a release build; this Python has torch, transformers and peft. Two threads each. Our clock covers the whole
process, with loading, encoding, hidden states of the start and writing; the peer's only the steps of its copies. The
peer's best is taken: micro-batches of 2, 4, 8 and 16, one process of two threads or two of one, eager or compiled, in f32
or in bf16 by autocast; ours in f32 and bf16.
The rows are the first of the pool, LoRA of rank 8 on all linear maps, 16 steps of 16 rows.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from measured import Notes, ours, peer

STEPS, BATCH, RANK = 16, 16, 8


def copies(model, rows, models, *more):
    recipe = ["--models", models, "--steps", STEPS, "--batch", BATCH, "--lora", RANK]
    return peer("pytorch_daunce.py", model, rows, *recipe, *more)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=Path)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--model", default="models/tiny-llama", help="below --shared")
    parser.add_argument("--rows", type=int, default=560)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    note = Notes(options.out)

    model = options.shared / options.model
    with tempfile.TemporaryDirectory() as work:
        rows = Path(work) / "rows.jsonl"
        lines = (options.shared / "data/pool.jsonl").read_text(encoding="utf-8").splitlines(True)
        rows.write_text("".join(lines[: options.rows]), encoding="utf-8")
        few = max(options.models // 4, 2)
        choices = [
            (["--micro", micro, "--processes", processes], copies(model, rows, few, "--micro", micro, "--processes", processes))
            for micro in (2, 4, 8, 16)
            for processes in (1, 2)
        ]
        for _, line in choices:
            note(who="torch, choice of micro-batch and processes", **line)
        best = max(choices, key=lambda choice: choice[1]["models_per_hour"])[0]
        forms = [[], ["--bf16"]] if options.no_compile else [[], ["--bf16"], ["--compile"], ["--compile", "--bf16"]]
        ratios = {}
        for _ in range(options.rounds):
            fastest = 0.0
            for form in forms:
                line = copies(model, rows, options.models, *best, *form)
                note(who="torch", **line)
                fastest = max(fastest, line["models_per_hour"])
            for name, more in [("f32", []), ("f32, one at a time", ["--at-once", 1]), ("bf16", ["--compute", "bf16"])]:
                folder = Path(work) / "copies"
                _, seconds, peak = ours(
                    options.gstore, "daunce", "train", "--model", model, "--data", rows, "--output", folder,
                    "--overwrite-output-dir", "--models", options.models, "--steps", STEPS, "--batch-size", BATCH,
                    "--lora-rank", RANK, "--learning-rate", "1e-3", "--max-length", 512, "--threads", 2, "--quiet", *more,
                )
                rate = 3600 * options.models / seconds
                note(who=f"gstore, {name}", models=options.models, seconds=round(seconds, 3),
                     models_per_hour=round(rate, 1), peak_rss_mb=peak)
                ratios.setdefault(name, []).append(rate / fastest)
        for name, all_of_them in ratios.items():
            note(ratio=f"gstore, {name} / torch", median=round(statistics.median(all_of_them), 2),
                 all=[round(ratio, 2) for ratio in all_of_them])


if __name__ == "__main__":
    main()
