"""Training and generation beside PyTorch, in turn, in one run.

    python benches/models.py GSTORE --shared ../shared [--shapes tiny,wide] [--only train,generate] [--rounds 3] [--out FILE.jsonl]

GSTORE is a release build; this Python has torch, transformers and peft. Two threads each. Our clock covers the whole
process, with loading, encoding and the last checkpoint; the peers' only their steps. The peer's best is taken: eager with each of some
micro-batches, torch.compile with the best of them. A step of the wide shape takes the peer ten seconds on two cores:
there are two micro-batches to choose from, by a step of each, few steps, and one round, some ten minutes in all.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measured import Notes, ours, peer

HERE = Path(__file__).parent
STEP = 8


@dataclass
class Shape:
    name: str
    own: int  # our steps; loading and the last checkpoint count as well
    steps: int  # of the peer, timed, after `warmup` others
    warmup: int
    micros: tuple  # micro-batches of the peer
    trial: tuple  # steps and warm-up of the peer by which one of them is chosen
    length: int  # tokens after which rows are cut off, by both
    piece: int  # tokens that a thread of ours computes at a time
    new: int  # tokens of an answer
    rounds: int


SHAPES = {
    "tiny": Shape("tiny-llama", 60, 60, 3, (1, 2, 4, 8), (15, 1), 2048, 1024, 128, 3),
    "wide": Shape("1,024 wide", 12, 3, 1, (1, 8), (1, 0), 512, 512, 32, 1),
}


class Bench:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.note = Notes(options.out)

    def rounds(self, shape):
        return range(self.options.rounds or shape.rounds)

    def train(self, shape, model, rows):
        name = shape.name
        # the same rows in the same order: what the peer counts as tokens is what is read here
        cut = ["--max-length", shape.length]
        part = self.work / f"{name}.jsonl"
        part.write_text("".join(rows.read_text().splitlines(True)[: shape.own * STEP]))
        for kind, flags, more in [
            ("LoRA of rank 8", ["--lora-rank", "8", "--lora-alpha", "32", *cut], ["--lora", 8, *cut]),
            ("all weights", ["--full", *cut], cut),
        ]:
            peers = [
                peer("pytorch_train.py", model, part, *more, "--steps", shape.trial[0], "--warmup", shape.trial[1],
                     "--micro", micro)
                for micro in shape.micros
            ]
            for line in peers:
                self.note(what=f"train {name}, {kind}", who="torch, choice of the micro-batch", **line)
            best = max(peers, key=lambda line: line["tokens_per_second"])["micro"]
            compiled = []
            if not self.options.no_compile:
                compiled = [["--compile"]]
            ratios = {}
            for _ in self.rounds(shape):
                fastest, tokens = None, None
                for flags_of_peer in [[], *compiled]:
                    line = peer("pytorch_train.py", model, part, *more, "--steps", shape.steps, "--warmup", shape.warmup,
                                "--micro", best, *flags_of_peer)
                    self.note(what=f"train {name}, {kind}", who="torch", **line)
                    fastest = max(fastest or 0, line["tokens_per_second"])
                    # rows of the wide shape are of equal length
                    tokens = line["tokens"] * shape.own // shape.steps
                for compute in ("f32", "bf16"):
                    folder = self.work / "trained"
                    command = [self.options.gstore, "train", "--model", model, "--data", part, "--output", folder, *flags,
                               "--per-device-train-batch-size", STEP, "--num-train-epochs", 1, "--learning-rate", "1e-4",
                               "--save-strategy", "no", "--compute", compute, "--threads", 2, "--no-shuffle",
                               "--batch-tokens", shape.piece,
                               "--overwrite-output-dir"]
                    _, seconds, peak = ours(*command)
                    rate = tokens / seconds
                    self.note(what=f"train {name}, {kind}", who=f"gstore {compute}", tokens=tokens,
                              seconds=round(seconds, 3), tokens_per_second=round(rate, 1), peak_rss_mb=peak)
                    ratios.setdefault(compute, []).append(rate / fastest)
            for compute, all_of_them in ratios.items():
                self.note(what=f"train {name}, {kind}", ratio=f"gstore {compute} / torch",
                          median=round(statistics.median(all_of_them), 2), all=[round(r, 2) for r in all_of_them])

    def generate(self, shape, model, rows):
        name, new = shape.name, shape.new
        prompts = self.work / "prompts.jsonl"
        texts = [json.loads(line)["messages"][0]["content"][:400] for line in rows.open()][:64]
        prompts.write_text("".join(json.dumps({"id": str(n), "prompt": text}) + "\n" for n, text in enumerate(texts)))
        ratios = {}
        for _ in self.rounds(shape):
            line = max((peer("transformers_generate.py", model, prompts, "--new", new, "--batch", batch) for batch in (16, 64)),
                       key=lambda line: line["tokens_per_second"])
            self.note(what=f"generate {name}", who="transformers", **line)
            for compute in ("f32", "bf16"):
                command = [self.options.gstore, "generate", "--model", model, "--data", prompts, "--batch-size", 64,
                           "--max-new-tokens", new, "--ignore-eos", "--compute", compute, "--threads", 2,
                           "-o", self.work / "answers.jsonl", "--force"]
                _, seconds, peak = ours(*command)
                rate = 64 * new / seconds
                self.note(what=f"generate {name}", who=f"gstore {compute}", new_tokens=64 * new, seconds=round(seconds, 3),
                          tokens_per_second=round(rate, 1), peak_rss_mb=peak)
                ratios.setdefault(compute, []).append(rate / line["tokens_per_second"])
        for compute, all_of_them in ratios.items():
            self.note(what=f"generate {name}", ratio=f"gstore {compute} / transformers",
                      median=round(statistics.median(all_of_them), 2), all=[round(r, 2) for r in all_of_them])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("gstore")
    arguments.add_argument("--shared", type=Path, default=HERE / "../../shared")
    arguments.add_argument("--rounds", type=int, help="three of the tiny shape and one of the wide one unless given")
    arguments.add_argument("--only", default="train,generate")
    arguments.add_argument("--shapes", default=",".join(SHAPES), help="tiny: tiny-llama; wide: 1,024 wide, 8 layers, rows of 512 tokens")
    arguments.add_argument("--no-compile", action="store_true")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    chosen = options.shapes.split(",")
    if unknown := set(chosen) - set(SHAPES):
        arguments.error(f"there is no shape {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        tiny, pool = options.shared / "models/tiny-llama", options.shared / "data/pool.jsonl"
        bench = Bench(options, work)
        for name in chosen:
            shape, model, rows = SHAPES[name], tiny, pool
            if name == "wide":
                (work / "large").mkdir()
                made = [sys.executable, HERE / "peers/make_large.py", tiny, pool, work / "large", "--rows", str(shape.own * STEP)]
                subprocess.run(made, check=True, capture_output=True)
                model, rows = work / "large/model", work / "large/rows.jsonl"
            if "train" in options.only:
                bench.train(shape, model, rows)
            if "generate" in options.only:
                bench.generate(shape, model, pool)


if __name__ == "__main__":
    main()
