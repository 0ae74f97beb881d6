"""Peer of TRAK's scores: traker 0.3.2 with its own gradients, projection, inverse and weights, on a CPU.

Gradients of the LoRA weights at each CHECKPOINT, float32. `--output loss` takes those of the negative mean loss of the
scored tokens, which gstore's stage `trak` preconditions (its Q is 1); `margin` TRAK's own function, the sum over the
scored tokens of ln(p / (1 - p)), with Q = 1 - mean p. The projection is the library's BasicProjector, whose entries are
normal: its fast one, fast_jl, needs CUDA. `--dim 0` does not project (NoOpProjector). `--damping` is added to the Gram
matrix as a part of its mean eigenvalue: 0.1 is gstore's default, 0 the library's, which needs fewer dimensions than
rows. The clock covers the library's steps, not loading and encoding. Prints one line of JSON.

    python benches/peers/trak_scores.py MODEL ROWS.jsonl QUERIES.jsonl --checkpoints CHECKPOINT ... --scores FILE.csv
"""

import argparse
import json
import logging
import pathlib
import resource
import tempfile
import time

import score_table
import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, NoOpProjector
from transformers import AutoModelForCausalLM


def log_probabilities(model, weights, buffers, ids, labels):
    """Log-probability of each token but the first, and which are scored. A causal mask alone: rows are padded at their ends."""
    length = ids.shape[-1]
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1).expand(ids.shape[0], 1, length, length)
    more = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    logits = torch.func.functional_call(model, (weights, buffers), args=(), kwargs=more).logits[:, :-1]
    labels = labels[:, 1:]
    losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    return -losses, (labels != -100).float()


class Loss(AbstractModelOutput):
    """The negative mean loss: its derivative in itself is 1 (of the loss, without the sign that TRAK drops too)."""

    def __init__(self):
        super().__init__()

    def get_output(self, model, weights, buffers, ids, labels):
        logs, scored = log_probabilities(model, weights, buffers, ids[None], labels[None])
        return (logs * scored).sum() / scored.sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        return torch.ones(len(batch[0]), 1)


class Margin(Loss):
    def get_output(self, model, weights, buffers, ids, labels):
        logs, scored = log_probabilities(model, weights, buffers, ids[None], labels[None])
        # A token of which the model is certain has no finite margin in float32; a token that is not scored none at all.
        logs = torch.where(scored.bool(), logs, -1.0).clamp(max=-1e-6)
        return ((logs - torch.log(-torch.expm1(logs))) * scored).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        with torch.no_grad():
            logs, scored = log_probabilities(model, weights, buffers, *batch)
        return (1 - (logs.exp() * scored).sum(1) / scored.sum(1)).clone()[:, None]


def batches(encoded, size):
    """Batches in the order of the rows, padded at their ends, as `[ids, labels]`."""
    for begin in range(0, len(encoded), size):
        part = encoded[begin : begin + size]
        ids, labels, _ = score_table.padded(part)
        yield [ids, labels]


def scored(args, model, names, rows, queries, folder):
    """The library's scores [query, row] over all checkpoints."""
    size = sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)
    more = {"seed": args.seed, "proj_type": "normal", "device": "cpu"}
    projector = BasicProjector(grad_dim=size, proj_dim=args.dim, **more) if args.dim else NoOpProjector(device="cpu")
    traker = TRAKer(
        model=model, task=Margin() if args.output == "margin" else Loss(), train_set_size=len(rows), save_dir=folder,
        device="cpu", projector=projector, use_half_precision=False, grad_wrt=names, logging_level=logging.ERROR,
    )

    def weights(checkpoint):
        set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
        return {name: value.clone() for name, value in model.state_dict().items()}

    for number, checkpoint in enumerate(args.checkpoints):
        traker.load_checkpoint(weights(checkpoint), model_id=number)
        for batch in batches(rows, args.batch):
            traker.featurize(batch, num_samples=len(batch[0]))
        # The library's ridge is one number; a part of the mean eigenvalue is known once there are gradients.
        gradients = torch.as_tensor(traker.saver.current_store["grads"]).double()
        traker.score_computer.lambda_reg = args.damping * float(gradients.square().sum()) / gradients.shape[1]
        traker.finalize_features(model_ids=[number])
        if args.dim:
            traker.projector.generate_sketch_matrix(traker.projector.generator_states[0])
        traker.start_scoring_checkpoint("queries", weights(checkpoint), model_id=number, num_targets=len(queries))
        for batch in batches(queries, args.batch):
            traker.score(batch, num_samples=len(batch[0]))
    return torch.tensor(traker.finalize_scores("queries")).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    score_table.arguments(parser)
    parser.add_argument("--checkpoints", type=pathlib.Path, nargs="+", required=True, help="folders of LoRA adapters")
    parser.add_argument("--output", choices=["loss", "margin"], default="loss")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--damping", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    (row_ids, rows), (query_ids, queries) = score_table.both(args)
    # The plain attention, which has derivatives under vmap.
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, str(args.checkpoints[0]), is_trainable=True).eval()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        found = scored(args, model, names, rows, queries, folder)
        seconds = time.monotonic() - began
    if args.scores:
        score_table.write(args.scores, row_ids, query_ids, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": len(rows), "queries": len(queries), "checkpoints": len(args.checkpoints), "output": args.output, "dim": args.dim,
                      "damping": args.damping, "seconds": round(seconds, 1), "mean_abs_score": float(found.abs().mean()),
                      "peak_rss_mb": round(peak, 1), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
