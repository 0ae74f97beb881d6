"""What prefilters and cascades keep of the full computation's top, and what they save, for each target of the pool.

    python benches/prefilter_targets.py GSTORE FOLDER --checkpoints 'RUN/checkpoint-*' [--shared ../shared] [--rows N] [--targets gsm8k,...]
           [--dim 2048] [--small-dim 256] [--labels 448] [--budget 15%] [--recall 95%] [--cascade STAGES] [--threads N]
           [--parts prefilter,applied,cascade] [--out FILE.jsonl]

GSTORE is a release build; RUN has LoRA checkpoints of tiny-llama with their optimizers. FOLDER keeps the stores; the same
command goes on after a stop, with the seconds that were measured before it, and is refused with other options. In four parts:

full      gradients of the whole pool at all checkpoints, timed, and the selection of each target
prefilter for each set of inputs a ridge is fitted, to a sample of --labels rows and judged on all others (`prefilter evaluate`),
          and to all rows, judged out of fold; of each target the smallest share of rows, in steps of 1 %, of which 90 % and
          95 % of the true top 5 % are part, and that a perfect prediction would take with labels of this noise
applied   on a store without features of the pool: one forward pass of it, gradients of --labels rows, a ridge fitted to counts,
          losses and entropy, gradients of the share --budget that it predicts to be best, and the selection among these; timed
cascade   `gstore select --cascade` on a store without features of the pool, timed, beside the full computation and its
          selection; a cascade that is refused has the reason in its line

Prints lines of JSON, then tables. Seconds are those of the whole process, with the commands in turn.
"""

import argparse
import json
import os
import random
import subprocess
import time
from pathlib import Path

from measured import Notes, ours

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["gsm8k", "sentiment", "commongen", "paraphrase", "socialqa", "headline", "science"]
COUNTS = ["tokens", "scored_tokens", "prompt_tokens", "source"]
SETS = {
    "counts": COUNTS,
    "loss": [*COUNTS, "loss", "perplexity", "entropy"],
    "embed": ["embed-mean"],
    "gradient": ["grad-adam"],
    "all": [*COUNTS, "loss", "perplexity", "entropy", "embed-mean", "grad-adam"],
}
# A budget of all rows is none.
SHARES = ",".join(f"{percent}%" for percent in range(1, 100))


class Bench:
    """Commands on the stores of a folder. What was done and its seconds are kept in `steps.json`."""

    def __init__(self, options):
        self.options, self.note = options, Notes(options.out)
        self.folder = options.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data, self.model = options.shared / "data", options.shared / "models/tiny-llama"
        self.file = self.folder / "steps.json"
        names = ["rows", "dim", "small_dim", "checkpoints", "learner", "cascade", "cascade_labels", "recall", "threads"]
        asked = {name: getattr(options, name) for name in names}
        self.done = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {"asked": asked}
        if self.done["asked"] != asked:
            raise SystemExit(f"{self.folder} is of {self.done['asked']}: name another folder")

    def command(self, *words, codes=(0,)):
        more = ["--threads", self.options.threads] if self.options.threads else []
        return ours(self.options.gstore.resolve(), *words, "--quiet", *more, codes=codes)

    def refusal(self, *words):
        """Why a command refuses, or none, and its seconds."""
        more = ["--threads", self.options.threads] if self.options.threads else []
        began = time.monotonic()
        done = subprocess.run(list(map(str, [self.options.gstore.resolve(), *words, "--quiet", *more])), capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode not in (0, 4):
            raise SystemExit(done.stderr)
        return done.stderr.strip()[-2000:] if done.returncode else None, seconds

    def step(self, name, *words, store=None):
        """Does a command once, and says its seconds."""
        if name not in self.done:
            _, seconds, peak = self.command(*words, *(["--store", store] if store else []))
            self.keep(name, {"seconds": round(seconds, 2), "peak_rss_mb": peak})
        return self.done[name]["seconds"]

    def keep(self, name, value):
        self.done[name] = value
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.done, indent=1), encoding="utf-8")
        part.rename(self.file)

    def pool(self):
        """The lines of the pool, the first --rows of it."""
        text = [line for line in (self.data / "pool.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()]
        return text[: self.options.rows]

    def gradients(self, kind, dim):
        return ["--model", self.model, "--checkpoints", self.options.checkpoints, "--run", "warm", "--features", kind, "--dim", dim, "--max-length", 512]

    def selected(self, path):
        return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]

    def add(self, name, store, target=None):
        """A store with the pool and the gradients of one target, or of all."""
        self.step(f"{name}: add", "add", "--dataset", "pool", "--data", self.folder / "pool.jsonl", store=store)
        for each in [target] if target else self.options.targets:
            self.step(f"{name}: add {each}", "add", "--dataset", each, "--data", self.data / f"targets/{each}.jsonl", store=store)
            self.step(f"{name}: {each}", "ingest", "--dataset", each, *self.gradients("grad-sgd", self.options.dim), store=store)


def full(bench):
    """All gradients of the pool, and what each target selects of it."""
    store = bench.folder / "full.gstore"
    (bench.folder / "pool.jsonl").write_text("\n".join(bench.pool()) + "\n", encoding="utf-8")
    bench.add("full", store)
    seconds = bench.step("full: pool", "ingest", "--dataset", "pool", *bench.gradients("grad-adam", bench.options.dim), store=store)
    for target in bench.options.targets:
        best = ["select", "--pool", "pool", "--target", target, "--run", "warm", "--top", "5%", "-o", bench.folder / f"full-{target}.jsonl", "--force"]
        more = bench.step(f"full: select {target}", *best, store=store)
        bench.note(part="full", target=target, ingest_seconds=seconds, select_seconds=more)


def cheap(bench):
    """A dataset with the ids of the pool, with cheap features."""
    store = bench.folder / "full.gstore"
    encoding = ["--model", bench.model, "--max-length", 512]
    bench.step("cheap: add", "add", "--dataset", "cheap", "--data", bench.folder / "pool.jsonl", store=store)
    bench.step("cheap: pass", "ingest", "--dataset", "cheap", *encoding, "--run", "base", "--features", "loss,entropy,embed-mean", store=store)
    first = sorted(Path("/").glob(bench.options.checkpoints.lstrip("/")), key=lambda path: int(path.name.rpartition("-")[2]))[0]
    small = bench.gradients("grad-adam", bench.options.small_dim)
    small[small.index(bench.options.checkpoints)] = first
    bench.step("cheap: gradient", "ingest", "--dataset", "cheap", *small, store=store)


def budget(shares, recall):
    """The smallest share of rows with at least this recall."""
    return next((share["budget"] for share in shares if share["recall"] >= recall), None)


def ceiling(report, recall):
    """The same of a perfect prediction of labels with this noise."""
    pairs = zip(report["budgets"], report["ceiling"] or [])
    return next((share["budget"] for share, most in pairs if most >= recall), None)


def prefilter(bench):
    """Of each set of inputs and target the budgets that keep 90 % and 95 % of the top."""
    cheap(bench)
    store, found = bench.folder / "full.gstore", {}
    labels = ["--pool", "cheap", "--labels-of", "pool", "--target", ",".join(bench.options.targets), "--run", "warm", "--store", store]
    shares = ["--budgets", SHARES, "--resamples", 200, "--json"]
    for name, inputs in SETS.items():
        learn = ["prefilter", "fit", name, *labels, "--inputs", ",".join(inputs), "--learner", bench.options.learner]
        # Labels of all rows save nothing, which a fit says with exit code 4 after its report.
        whole, seconds, _ = bench.command(*learn, "--labels", 1_000_000, "--dry-run", *shares, codes=(0, 4))
        reports = {"all": json.loads(whole)["report"]}
        # A prefilter is kept only if its budget saves something. The report on other rows has every share, whatever it is.
        bench.command(*learn, "--labels", bench.options.labels, "--budget", "5%", "--force")
        sample, _, _ = bench.command("prefilter", "evaluate", name, *labels, "--labels", 1_000_000, *shares)
        reports["sample"] = json.loads(sample)["report"]
        for fitted, report in reports.items():
            for of in report["targets"]:
                line = {"budget_90": budget(of["budgets"], 0.9), "budget_95": budget(of["budgets"], 0.95), "spearman": round(of["spearman"], 4),
                        "perfect_90": ceiling(of, 0.9), "perfect_95": ceiling(of, 0.95)}
                found[name, fitted, of["target"]] = line
                bench.note(part="prefilter", inputs=name, labels=fitted, judged_rows=report["rows"], target=of["target"], top=of["top"], **line,
                           fit_seconds=round(seconds, 2))
    return found


def applied(bench):
    """A prefilter of counts and losses with a fixed budget for each target on a store of its own, beside the full computation."""
    options, found = bench.options, {}
    lines = bench.pool()
    sample = bench.folder / f"sample-{options.labels}.jsonl"
    sample.write_text("\n".join(random.Random(0).sample(lines, options.labels)) + "\n", encoding="utf-8")
    key = f"applied {options.labels} {options.budget}"
    for target in options.targets:
        whole_of = bench.selected(bench.folder / f"full-{target}.jsonl")
        name = f"{key} {target}"
        parts = (f"applied-{options.labels}-{options.budget.rstrip('%')}-{target}{end}" for end in (".gstore", "-kept.jsonl", ".jsonl"))
        store, kept, chosen = (bench.folder / part for part in parts)
        bench.add(name, store, target)
        loss = ["--model", bench.model, "--max-length", 512, "--run", "base", "--features", "loss,entropy"]
        learn = ["--pool", "pool", "--labels-of", "sample", "--random-labels", "--target", target, "--run", "warm", "--inputs", ",".join(SETS["loss"])]
        gradients = bench.gradients("grad-adam", options.dim)
        select = ["--pool", "kept", "--target", target, "--run", "warm", "--top", len(whole_of), "-o", chosen, "--force"]
        steps = {
            "loss": ["ingest", "--dataset", "pool", *loss],
            "sample": ["ingest", "--dataset", "sample", "--data", sample, *gradients],
            "fit": ["prefilter", "fit", "cheap", *learn, "--learner", options.learner, "--budget", options.budget],
            "apply": ["prefilter", "apply", "cheap", "--pool", "pool", "-o", kept, "--force"],
            "kept": ["ingest", "--dataset", "kept", "--data", kept, *gradients],
            "select": ["select", *select],
        }
        seconds = {step: bench.step(f"{name}: {step}", *words, store=store) for step, words in steps.items()}
        whole = bench.done["full: pool"]["seconds"] + bench.done[f"full: select {target}"]["seconds"]
        total, overlap = sum(seconds.values()), len(set(bench.selected(chosen)) & set(whole_of)) / len(whole_of)
        found[target] = {"seconds": round(total, 2), "full_seconds": round(whole, 2), "ratio": round(whole / total, 2), "overlap": round(overlap, 4)}
        bench.note(part="applied", target=target, labels=options.labels, budget=options.budget, steps=seconds, **found[target])
    return found


def cascade(bench):
    """The cascade of each target on a store of its own, beside the full computation."""
    options, found = bench.options, {}
    for target in options.targets:
        store, chosen, report = (bench.folder / f"cascade-{target}{end}" for end in (".gstore", ".jsonl", ".json"))
        bench.add(f"cascade {target}", store, target)
        name = f"cascade {target}: select"
        if name not in bench.done:
            words = ["select", "--store", store, "--pool", "pool", "--target", target, "--run", "warm", "--top", "5%", "--cascade", options.cascade]
            words += ["--recall", options.recall, "--report", report, "-o", chosen, "--force"]
            words += ["--labels", options.cascade_labels] if options.cascade_labels else []
            refused, seconds = bench.refusal(*words)
            bench.keep(name, {"seconds": round(seconds, 2), "refused": refused})
        seconds, refused = bench.done[name]["seconds"], bench.done[name]["refused"]
        whole = bench.done["full: pool"]["seconds"] + bench.done[f"full: select {target}"]["seconds"]
        line = {"seconds": seconds, "full_seconds": round(whole, 2), "refused": refused}
        if not refused:
            found_of, whole_of = (set(bench.selected(path)) for path in (chosen, bench.folder / f"full-{target}.jsonl"))
            line |= {"ratio": round(whole / seconds, 2), "overlap": round(len(found_of & whole_of) / len(whole_of), 4)}
        said = json.loads(report.read_text(encoding="utf-8"))
        # What is refused before anything is computed has nothing but the reason.
        if of := said["report"]:
            line |= {"done": of["done"], "bound": of["bound"], "labelled": of["labelled"], "saving": said["saving"],
                     "stages": [{key: stage[key] for key in ("stage", "rows_in", "rows_out", "spearman", "recall")} for stage in of["stages"]]}
        found[target] = line
        bench.note(part="cascade", target=target, cascade=options.cascade, recall=options.recall, **line)
    return found


def percent(share):
    return "" if share is None else f"{100 * share:.0f} %"


def table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstore", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", required=True, help="an absolute glob of LoRA checkpoints")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("GSTORE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--parts", default="prefilter,applied,cascade", help="what follows the full computation")
    parser.add_argument("--rows", type=int, help="first rows of the pool (default: all)")
    parser.add_argument("--targets", type=lambda text: text.split(","), default=TARGETS)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--small-dim", type=int, default=256)
    parser.add_argument("--learner", default="ridge")
    parser.add_argument("--labels", type=int, default=448, help="labelled rows of a prefilter")
    parser.add_argument("--budget", default="15%", help="share of rows that an applied prefilter keeps")
    parser.add_argument("--cascade", default="loss -> embed -> 1 checkpoint -> all")
    parser.add_argument("--cascade-labels", type=int, help="labelled rows of a cascade (default: gstore's)")
    parser.add_argument("--recall", default="95%")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.shared = options.shared.resolve()
    if not options.checkpoints.startswith("/"):
        parser.error("--checkpoints is an absolute glob")
    bench, parts = Bench(options), options.parts.split(",")
    full(bench)
    if "prefilter" in parts:
        found = prefilter(bench)
        for fitted, what in (("sample", f"fitted to {options.labels} rows, judged on the others"), ("all", "fitted to all rows, judged out of fold")):
            print(f"\nShare of rows that keeps 90 / 95 % of the true top 5 %, {what}")
            cell = {key: f"{percent(line['budget_90'])} / {percent(line['budget_95'])}" for key, line in found.items()}
            rows = ([target, *(cell.get((name, fitted, target), "") for name in SETS)] for target in options.targets)
            table(["target", *SETS], rows)
    if "applied" in parts:
        found = applied(bench)
        print(f"\nA prefilter of counts and losses: {options.labels} labels, {options.budget} kept")
        table(["target", "prefilter s", "full s", "ratio", "overlap"],
              ([target, line["seconds"], line["full_seconds"], line["ratio"], percent(line["overlap"])] for target, line in found.items()))
    if "cascade" in parts:
        found = cascade(bench)
        head = ["target", "cascade s", "full s", "ratio", "overlap", "bound on the recall", "saving in forward passes"]
        rows = ([target, line["seconds"], line["full_seconds"], line.get("ratio", ""), percent(line.get("overlap")), percent(line.get("bound")),
                 "refused" if line["refused"] else percent(line.get("saving"))] for target, line in found.items())
        table(head, rows)


if __name__ == "__main__":
    main()
