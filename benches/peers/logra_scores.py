"""Peer of LoGra's scores: dattri 0.3.0 or LogIX (logix-ai 0.1.1), each by its own code, on a CPU.

Gradients of the linear layers of the blocks of MODEL, float32, of the sum over the scored tokens. Each layer is projected
to `--rank` x `--rank` numbers and preconditioned by its own Gram matrix, with a tenth of the mean eigenvalue as damping. The
clock covers the library's steps, not loading and encoding. Prints one line of JSON.

    python benches/peers/logra_scores.py dattri MODEL ROWS.jsonl QUERIES.jsonl --scores FILE.csv
"""

import argparse
import contextlib
import json
import pathlib
import resource
import sys
import tempfile
import time

import score_table
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

DAMPING = 0.1


def loss(logits, labels):
    """The summed loss of the scored tokens."""
    logits, labels = logits[:, :-1], labels[:, 1:]
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum")


def collate(rows):
    return dict(zip(("input_ids", "labels", "attention_mask"), score_table.padded(rows)))


def batches(rows, size):
    return torch.utils.data.DataLoader(rows, batch_size=size, collate_fn=collate)


def dattri_scores(args, model, layers, rows, queries, work):
    from dattri.algorithm.logra import LoGraAttributor
    from dattri.task import AttributionTask

    def summed(model, batch, _):
        return loss(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["labels"])

    task = AttributionTask(loss_func=summed, model=model, checkpoints=model.state_dict())
    # The folder takes the sizes of batches; by default they go to the working folder, and the next run has them.
    more = {"proj_dim": args.rank**2, "offload": "cpu", "cache_dir": str(work)}
    attributor = LoGraAttributor(task, layer_names=layers, hessian="eFIM", damping=DAMPING, **more)
    attributor.cache(batches(rows, args.batch))
    return attributor.attribute(batches(rows, args.batch), batches(queries, args.batch)).T


def logix_scores(args, model, layers, rows, queries, work):
    import logix
    from logix.config import LoRAConfig

    (work / "config.yaml").write_text(f"root_dir: {work}\nlora:\n  init: random\n  rank: {args.rank}\n", encoding="utf-8")
    torch.manual_seed(args.seed)
    run = logix.init("scores", config=str(work / "config.yaml"))
    run.watch(model, name_filter=["self_attn", "mlp"])
    run.add_lora(lora_config=LoRAConfig(rank=args.rank))
    if len(run.logger.modules_to_name) != len(layers):
        sys.exit(f"LogIX watches {len(run.logger.modules_to_name)} modules of {len(layers)}")
    model.eval()

    def gradients(encoded, prefix):
        for number, batch in enumerate(batches(encoded, args.batch)):
            ids, mask = batch["input_ids"], batch["attention_mask"]
            with run(data_id=[f"{prefix}{number * args.batch + row}" for row in range(len(ids))], mask=mask):
                model.zero_grad()
                loss(model(input_ids=ids, attention_mask=mask).logits, batch["labels"]).backward()
            yield run.get_log(copy=True)

    for _ in logix.LogIXScheduler(run, lora="none", hessian="raw", save="grad"):
        for _ in gradients(rows, "row"):
            pass
        run.finalize()
    log = run.build_log_dataloader(batch_size=64)
    run.setup({"grad": ["log"]})
    run.eval()
    found = torch.empty(len(queries), len(rows))
    for asked in gradients(queries, "query"):
        scores = run.influence.compute_influence_all(asked, log)
        at = [int(name.removeprefix("query")) for name in scores["src_ids"]], [int(name.removeprefix("row")) for name in scores["tgt_ids"]]
        found[torch.tensor(at[0])[:, None], torch.tensor(at[1])[None]] = scores["influence"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=["dattri", "logix"])
    score_table.arguments(parser)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    (row_ids, rows), (query_ids, queries) = score_table.both(args)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    model.config.use_cache = False
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "lm_head" not in name]
    library = {"dattri": dattri_scores, "logix": logix_scores}[args.library]
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        began = time.monotonic()
        found = library(args, model, layers, rows, queries, pathlib.Path(work))
        seconds = time.monotonic() - began
    if args.scores:
        score_table.write(args.scores, row_ids, query_ids, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"library": args.library, "rows": len(rows), "queries": len(queries), "rank": args.rank, "batch": args.batch,
                      "seconds": round(seconds, 1), "mean_abs_score": float(found.abs().mean()), "peak_rss_mb": round(peak, 1),
                      "torch": torch.__version__}))


if __name__ == "__main__":
    main()
