"""Trains the demo's model and its LoRA warm-up, on the CPU: demo/model and demo/warmup/checkpoint-*.

1. A byte-level BPE tokenizer on generated conversations.
2. A small Llama from scratch on the same conversations, stored as f16.
3. LoRA on a random tenth of the pool with the Hugging Face Trainer, one checkpoint an epoch. It starts from the stored
   (f16) weights, so that whoever reads the files has the weights that were trained on.

    python demo/make/generate.py && python demo/make/train.py
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # the adapter names its base model by a relative folder; nobody should ask a hub for it

import tokenizers
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

import generate
import tulu

DEMO = pathlib.Path(__file__).resolve().parent.parent
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|user|>", "<|assistant|>"]
PAD = SPECIAL.index("<pad>")
VOCABULARY = 768
MAX_POSITIONS = 512
CHAT_TEMPLATE = """\
{% for m in messages %}{% if m['role']=='user' %}<|user|>
{{ m['content'].strip() }}
{% else %}<|assistant|>
{{ m['content'].strip() }}{{ eos_token }}
{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""


def make_tokenizer(corpus):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((m["content"] for row in corpus[:20000] for m in row), trainer)
    return tokenizer


def padded(rows):
    """Batch of (ids, labels) as two tensors. Padding is on the right, where causal attention cannot see it."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return ids, labels


def loss_of(model, ids, labels, reduction="mean"):
    logits = model(input_ids=ids, use_cache=False).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def mean_losses(model, rows_of):
    """Mean over the rows of each set of their mean loss per scored token."""
    out = {}
    for name, rows in rows_of.items():
        losses = []
        for start in range(0, len(rows), 32):
            ids, labels = padded(rows[start : start + 32])
            per_token = loss_of(model, ids, labels, "none").view(len(ids), -1)
            scored = (labels[:, 1:] != -100).sum(1)
            losses += (per_token.sum(1) / scored).tolist()
        out[name] = round(sum(losses) / len(losses), 3)
    return out


@torch.no_grad()
def answer(model, tokenizer, question, limit=80):
    ids = tokenizer.encode(f"<|user|>\n{question}\n<|assistant|>\n", add_special_tokens=False).ids
    start = len(ids)
    while len(ids) < start + limit:
        token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == SPECIAL.index("</s>"):
            break
        ids.append(token)
    return tokenizer.decode(ids[start:])


def train_base(corpus, tokenizer, args):
    """A Llama from scratch; the learning rate rises over 3 % of the steps and falls to zero by a cosine."""
    torch.manual_seed(args.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=args.hidden,
            intermediate_size=args.intermediate,
            num_hidden_layers=args.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=MAX_POSITIONS,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=PAD,
            use_cache=False,
        )
    )
    print(f"base model: {sum(p.numel() for p in model.parameters()):,} parameters")
    rows = sorted((tulu.encode(tokenizer, row) for row in corpus), key=lambda row: len(row[0]))
    batches = [rows[n : n + args.base_batch] for n in range(0, len(rows), args.base_batch)]
    order = torch.cat([torch.randperm(len(batches)) for _ in range(args.base_epochs)]).tolist()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.base_lr, betas=(0.9, 0.98), weight_decay=0.05)
    steps, rising = len(order), len(order) * 3 // 100 + 1
    started, seen = time.time(), 0.0
    for step, batch in enumerate(order):
        rate = (step + 1) / rising if step < rising else 0.5 + 0.5 * math.cos(math.pi * (step - rising) / (steps - rising))
        for group in optimizer.param_groups:
            group["lr"] = args.base_lr * rate
        ids, labels = padded(batches[batch])
        loss = loss_of(model, ids, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += loss.item()
        if (step + 1) % 200 == 0:
            print(f"  step {step + 1}/{steps}  loss {seen / 200:.3f}  {time.time() - started:.0f} s", flush=True)
            seen = 0.0
    return model


def save_base(model, tokenizer, folder):
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
    ).save_pretrained(folder)


def warm_up(rows, args, out):
    """LoRA on `rows`; keeps from each of the Trainer's checkpoints what belongs to the result."""
    torch.manual_seed(args.seed)
    model = LlamaForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
    model = get_peft_model(
        model,
        LoraConfig(
            r=8,
            lora_alpha=32,
            lora_dropout=0.0,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
            task_type="CAUSAL_LM",
        ),
    )
    model.peft_config["default"].base_model_name_or_path = "model"

    def collate(items):
        ids, labels = padded([(item["input_ids"], item["labels"]) for item in items])
        return {"input_ids": ids, "labels": labels}

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                use_cpu=True,
                seed=args.seed,
                per_device_train_batch_size=args.batch,
                num_train_epochs=args.epochs,
                learning_rate=args.lr,
                lr_scheduler_type="linear",
                warmup_steps=0.05,
                weight_decay=0.0,
                max_grad_norm=1.0,
                logging_steps=1,
                save_strategy="epoch",
                report_to=[],
                disable_tqdm=True,
                dataloader_num_workers=0,
            ),
            train_dataset=[{"input_ids": ids, "labels": labels} for ids, labels in rows],
            data_collator=collate,
        )
        trainer.train()
        shutil.rmtree(out, ignore_errors=True)
        for saved in sorted(pathlib.Path(scratch).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1])):
            kept = out / saved.name
            kept.mkdir(parents=True)
            for name in ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"]:
                shutil.copyfile(saved / name, kept / name)
            config = json.loads((saved / "adapter_config.json").read_text())
            config["target_modules"].sort()
            (kept / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--intermediate", type=int, default=320)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--corpus", type=int, default=48000, help="conversations for the base model")
    parser.add_argument("--base-epochs", type=int, default=4)
    parser.add_argument("--base-batch", type=int, default=64)
    parser.add_argument("--base-lr", type=float, default=3e-3)
    parser.add_argument("--subset", type=float, default=0.10, help="share of the pool for the warm-up")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--keep-base", action="store_true", help="use demo/model as it is")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    if not args.keep_base:
        corpus = generate.corpus(args.corpus)
        tokenizer = make_tokenizer(corpus)
        model = train_base(corpus, tokenizer, args)
        save_base(model, tokenizer, DEMO / "model")

    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    pool = tulu.read(DEMO / "data" / "pool.jsonl")
    encoded = [tulu.encode(tokenizer, row["messages"]) for row in pool]
    by_skill = {skill: [e for e, row in zip(encoded, pool) if row["source"] == skill] for skill in generate.POOL}
    chosen = generate.Rng(args.seed).sample(range(len(pool)), int(args.subset * len(pool)))

    base = LlamaForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
    print("loss on the pool before the warm-up:", mean_losses(base, by_skill))
    model = warm_up([encoded[n] for n in chosen], args, DEMO / "warmup")
    print("loss on the pool after the warm-up: ", mean_losses(model, by_skill))
    for skill in generate.TARGETS:
        rows = tulu.read(DEMO / "data" / "targets" / f"{skill}.jsonl")
        right = sum(answer(model, tokenizer, r["messages"][0]["content"]) == r["messages"][1]["content"] for r in rows)
        print(f"{skill}: {right} of {len(rows)} target answers are exactly right")


if __name__ == "__main__":
    main()
