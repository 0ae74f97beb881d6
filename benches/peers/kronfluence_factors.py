"""Peer of `gstore factors fit` and `gstore score`: EK-FAC by Kronfluence on a CPU.

All linear layers of the blocks, empirical Fisher (or true, `--fisher true`, with labels drawn by `--seed`), float32 with
an eigendecomposition in float64, damping a tenth of the mean; rows are encoded once and padded to the longest of their
batch, whose attention mask Kronfluence gets. The clock covers each step with writing its files, and not loading and
encoding. Prints one line of JSON.

    python benches/peers/kronfluence_factors.py MODEL ROWS.jsonl QUERIES.jsonl --batch 8 --query-batch 32
"""

import argparse
import json
import resource
import tempfile
import time

import score_table
import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from kronfluence.utils.dataset import DataLoaderKwargs
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM


class Language(Task):
    def __init__(self, modules):
        super().__init__()
        self.modules = modules

    def compute_train_loss(self, batch, model, sample=False):
        logits = model(input_ids=batch["ids"], attention_mask=batch["mask"]).logits[:, :-1].float()
        labels = batch["labels"][:, 1:]
        if sample:
            drawn = torch.multinomial(logits.detach().softmax(-1).flatten(0, 1), 1).reshape(labels.shape)
            labels = torch.where(labels == -100, labels, drawn)
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum")

    def compute_measurement(self, batch, model):
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self):
        return self.modules

    def get_attention_mask(self, batch):
        return batch["mask"]


def collate(rows):
    return dict(zip(("ids", "labels", "mask"), score_table.padded(rows)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    score_table.arguments(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--query-batch", type=int, default=32)
    parser.add_argument("--fisher", choices=["empirical", "true"], default="empirical")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (pool, rows), (asked, queries) = score_table.both(args)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    model.config.use_cache = False
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "lm_head" not in name]
    task = Language(names)
    model = prepare_model(model, task)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("bench", model, task, cpu=True, output_dir=folder, disable_tqdm=True, disable_model_save=True)
        analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=collate))
        factors = FactorArguments(strategy="ekfac", use_empirical_fisher=args.fisher == "empirical")
        scores = ScoreArguments(damping_factor=None)

        def timed(name, call, **more):
            began = time.monotonic()
            call(**more)
            seconds[name] = round(time.monotonic() - began, 3)

        fit = {"factors_name": "f", "factor_args": factors}
        timed("covariances", analyzer.fit_covariance_matrices, dataset=rows, per_device_batch_size=args.batch, **fit)
        timed("eigenvectors", analyzer.perform_eigendecomposition, **fit)
        timed("squares", analyzer.fit_lambda_matrices, dataset=rows, per_device_batch_size=args.batch, **fit)
        timed(
            "scores", analyzer.compute_pairwise_scores, scores_name="s", factors_name="f", query_dataset=queries,
            train_dataset=rows, per_device_query_batch_size=min(args.query_batch, len(queries)),
            per_device_train_batch_size=args.batch, score_args=scores,
        )
        found = analyzer.load_pairwise_scores("s")["all_modules"].double()
    total = float(found.abs().mean())
    if args.scores:
        score_table.write(args.scores, pool, asked, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": len(rows), "queries": len(queries), "batch": args.batch, "query_batch": args.query_batch, "seconds": seconds,
                      "mean_abs_score": total, "peak_rss_mb": round(peak, 1), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
