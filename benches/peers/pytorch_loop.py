"""Peer of gstore's ingest: per-sample LoRA gradients and LESS Adam features by the usual PyTorch loop.

Batch 1, autograd, float32, adapter loaded by PEFT, conversations in the tulu template cut at 2048 tokens. Each row costs
one forward, one backward, the flattened adapter gradient and the Adam feature from `optimizer.pt`; nothing is projected
and nothing is kept. The clock covers that and the tokenising, not the loading. Prints one line of JSON.

    python benches/peers/pytorch_loop.py MODEL CHECKPOINT ROWS.jsonl --limit 500 --threads 2 --warmup 20
"""

import argparse
import json
import pathlib
import resource
import sys
import time

import tokenizers
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def rendered(messages, upto, header=False):
    text = ""
    for message in messages[:upto]:
        end = "</s>" if message["role"] == "assistant" else ""
        text += f"<|{message['role']}|>\n{message['content'].strip()}{end}\n"
    return text + ("<|assistant|>\n" if header else "")


def encode(tokenizer, messages, max_length):
    """(ids, labels); labels are -100 outside assistant turns, bounded by token counts of text prefixes as in LESS."""

    def tokens(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    ids = tokens(rendered(messages, len(messages)))
    labels = [-100] * len(ids)
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(tokens(rendered(messages, n, header=True)))
            end = len(tokens(rendered(messages, n + 1)))
            labels[start:end] = ids[start:end]
    return ids[:max_length], labels[:max_length]


def moments(checkpoint, parameters):
    """(exp_avg, exp_avg_sq), each flat in the order of `parameters`, from an index-keyed optimizer.pt."""
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu")["state"]
    shapes = [tuple(state[n]["exp_avg"].shape) for n in range(len(state))]
    if shapes != [tuple(p.shape) for p in parameters]:
        sys.exit("the moments in optimizer.pt do not fit the adapter")
    return tuple(torch.cat([state[n][key].flatten() for n in range(len(state))]) for key in ("exp_avg", "exp_avg_sq"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("--limit", type=int, help="rows to time (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=20, help="untimed rows before the clock starts")
    parser.add_argument("--max-length", type=int, default=2048)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(args.checkpoint), is_trainable=True).eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    m, v = moments(args.checkpoint, parameters)
    tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    with open(args.rows, encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(args.limit or sys.maxsize))]

    def feature(row):
        ids, labels = encode(tokenizer, row["messages"], args.max_length)
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]), use_cache=False).loss
        g = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])
        return (BETA1 * m + (1 - BETA1) * g) / (BETA2 * v + (1 - BETA2) * g * g + EPS).sqrt(), len(ids)

    for row in rows[: args.warmup]:
        feature(row)
    tokens, started = 0, time.perf_counter()
    for row in rows:
        tokens += feature(row)[1]
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "samples": len(rows),
                "tokens": tokens,
                "seconds": round(seconds, 3),
                "samples_per_second": round(len(rows) / seconds, 2),
                "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "threads": args.threads,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
