"""Peer of `gstore train`: the usual PyTorch loop, LoRA by PEFT or all weights, AdamW, linear schedule, clipping at 1.

Rows are encoded in the tulu template as `pytorch_loop.py` does; a step takes `--step` rows, in micro-batches of
`--micro` padded to the longest of each, with accumulation between them; the loss is the mean over the step's scored
tokens. The clock covers the steps and not loading, encoding or compiling. Prints one line of JSON.

    python benches/peers/pytorch_train.py MODEL ROWS.jsonl --lora 8 --step 8 --micro 8 --steps 40 [--compile]
"""

import argparse
import json
import pathlib
import resource
import time

import score_table
import tokenizers
import torch
from peft import LoraConfig, get_peft_model
from pytorch_loop import encode
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("rows", type=pathlib.Path)
parser.add_argument("--lora", type=int, help="rank; without it all weights are trained")
parser.add_argument("--step", type=int, default=8)
parser.add_argument("--micro", type=int, default=8)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--warmup", type=int, default=3, help="untimed steps before the clock starts")
parser.add_argument("--max-length", type=int, default=2048)
parser.add_argument("--compile", action="store_true")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)

model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
if args.lora:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(model, LoraConfig(r=args.lora, lora_alpha=4 * args.lora, target_modules=targets))
model.train()
model.config.use_cache = False
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
forward = torch.compile(model, dynamic=True) if args.compile else model

tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
with open(args.rows, encoding="utf-8") as lines:
    rows = [encode(tokenizer, json.loads(line)["messages"], args.max_length) for line in lines]
rows = [row for row in rows if any(label != -100 for label in row[1][1:])]


def padded(part):
    return dict(zip(("input_ids", "labels", "attention_mask"), score_table.padded(part)))


def step(number):
    batch = [rows[(number * args.step + i) % len(rows)] for i in range(args.step)]
    scored = sum(label != -100 for _, labels in batch for label in labels[1:])
    total = 0.0
    for at in range(0, len(batch), args.micro):
        inputs = padded(batch[at : at + args.micro])
        loss = forward(**inputs, num_items_in_batch=torch.tensor(scored)).loss
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sum(len(ids) for ids, _ in batch), total


for number in range(args.warmup):
    step(number)
tokens, started, loss = 0, time.perf_counter(), None
for number in range(args.steps):
    done, loss = step(args.warmup + number)
    tokens += done
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({
    "tokens": tokens, "seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1),
    "loss": round(loss, 4), "peak_rss_mb": round(peak, 1), "micro": args.micro, "compile": args.compile,
    "torch": torch.__version__,
}))
