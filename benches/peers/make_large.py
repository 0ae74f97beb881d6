"""Makes the larger shape of the comparison: a Llama of random weights and rows of 512 tokens.

    python benches/peers/make_large.py TINY_LLAMA POOL.jsonl OUT --rows 64

Hidden 1024, 8 layers, 16 heads of 64 with 4 key heads, 2816 inside the MLP; tokenizer and vocabulary are those of TINY_LLAMA. Rows are
conversations of the pool, one after the other in one user turn and one answer, so that each has 512 tokens after truncation.
"""

import argparse
import json
import pathlib
import shutil

import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("tiny", type=pathlib.Path)
parser.add_argument("pool", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--rows", type=int, default=64)
args = parser.parse_args()

torch.manual_seed(0)
tiny = AutoConfig.from_pretrained(args.tiny)
config = LlamaConfig(
    vocab_size=tiny.vocab_size,
    hidden_size=1024,
    intermediate_size=2816,
    num_hidden_layers=8,
    num_attention_heads=16,
    num_key_value_heads=4,
    max_position_embeddings=512,
    bos_token_id=tiny.bos_token_id,
    eos_token_id=tiny.eos_token_id,
)
model = args.out / "model"
LlamaForCausalLM(config).to(torch.float32).save_pretrained(model)
for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
    if (args.tiny / name).exists():
        shutil.copy(args.tiny / name, model / name)

lines = [json.loads(line) for line in args.pool.open()]
with (args.out / "rows.jsonl").open("w") as rows:
    at = 0
    for row in range(args.rows):
        answer = ""
        question = lines[at]["messages"][0]["content"]
        while len(answer) < 4000:
            answer += lines[at]["messages"][-1]["content"] + "\n" + lines[at]["messages"][0]["content"] + "\n"
            at = (at + 1) % len(lines)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}]
        rows.write(json.dumps({"id": str(row), "messages": messages}) + "\n")
