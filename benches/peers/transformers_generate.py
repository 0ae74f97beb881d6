"""Peer of `gstore generate`: `generate` of transformers, greedy, all prompts padded on the left in one or more batches.

The clock covers the calls of `generate` and not loading or encoding. Prints one line of JSON.

    python benches/peers/transformers_generate.py MODEL PROMPTS.jsonl --batch 64 --new 128
"""

import argparse
import json
import pathlib
import resource
import time

import tokenizers
import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("prompts", type=pathlib.Path)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--new", type=int, default=128)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)

model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
with open(args.prompts, encoding="utf-8") as lines:
    prompts = [tokenizer.encode(json.loads(line)["prompt"]).ids for line in lines]


def answer(part):
    width = max(map(len, part))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in part])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part])
    out = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=0,
        min_new_tokens=args.new, max_new_tokens=args.new,
    )
    return out[:, width:].numel()


with torch.inference_mode():
    answer(prompts[:2])
    started = time.perf_counter()
    tokens = sum(answer(prompts[at : at + args.batch]) for at in range(0, len(prompts), args.batch))
    seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({
    "new_tokens": tokens, "seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1),
    "peak_rss_mb": round(peak, 1), "batch": args.batch, "torch": torch.__version__,
}))
