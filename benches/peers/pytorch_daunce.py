"""Peer of `gstore daunce train`: perturbed copies by PyTorch and PEFT, as fast as a CPU lets them.

What a careful user would write: the model is loaded once and only factors are drawn again for each copy; rows are
encoded once; final hidden states of the start are computed once and kept, at scored tokens only; logits exist for
scored tokens only; batches are padded to their longest row and may be cut into micro-batches (`--micro`); several
processes may share the copies (`--processes`, each with its share of the threads). The clock covers the copies and
not loading, encoding, hidden states or compiling. Prints one line of JSON.

    python benches/peers/pytorch_daunce.py MODEL ROWS.jsonl --models 8 --steps 16 --batch 16 --micro 8 [--compile] [--bf16]
"""

import argparse
import json
import multiprocessing
import pathlib
import resource
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("rows", type=pathlib.Path)
parser.add_argument("--models", type=int, default=8)
parser.add_argument("--steps", type=int, default=16)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--micro", type=int, default=16)
parser.add_argument("--lora", type=int, default=8)
parser.add_argument("--rho", type=float, default=1.0)
parser.add_argument("--rate", type=float, default=1e-3)
parser.add_argument("--max-length", type=int, default=512)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--processes", type=int, default=1)
parser.add_argument("--compile", action="store_true")
parser.add_argument("--bf16", action="store_true", help="products in bf16, by autocast")


class Copies:
    def __init__(self, args, threads):
        import tokenizers
        import torch
        from peft import LoraConfig, get_peft_model
        from pytorch_loop import encode
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self.torch, self.args = torch, args
        tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
        with open(args.rows, encoding="utf-8") as lines:
            rows = [encode(tokenizer, json.loads(line)["messages"], args.max_length) for line in lines]
        self.rows = [row for row in rows if any(label != -100 for label in row[1][1:])]
        base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
        base.config.use_cache = False
        self.head = base.lm_head.weight.detach()
        with torch.no_grad():
            self.start = [self.hidden(base.model, [row])[0] for row in self.rows]
        self.model = get_peft_model(
            base, LoraConfig(r=args.lora, lora_alpha=4 * args.lora, target_modules="all-linear")
        )
        self.model.train()
        self.inner = self.model.base_model.model.model
        if args.compile:
            self.inner = torch.compile(self.inner, dynamic=True)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def hidden(self, inner, part):
        """Final hidden states of scored tokens, their targets, and the row of each."""
        torch = self.torch
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part])
        labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in part])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in part])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            states = inner(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1].float()
        scored = labels[:, 1:] != -100
        return states[scored], labels[:, 1:][scored], scored.nonzero()[:, 0]

    def copy(self, number):
        torch, args = self.torch, self.args
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if "lora_A" in name:
                    parameter.uniform_(-1, 1, generator=generator).div_(parameter.shape[1] ** 0.5)
                elif "lora_B" in name:
                    parameter.zero_()
        optimizer = torch.optim.AdamW(self.parameters, lr=args.rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
        noise = torch.rand(len(self.rows), generator=generator)
        order = torch.randperm(len(self.rows), generator=generator).tolist()
        value = 0.0
        for step in range(args.steps):
            batch = [order[(step * args.batch + i) % len(order)] for i in range(args.batch)]
            tokens = sum(self.start[row].shape[0] for row in batch)
            value = 0.0
            for at in range(0, len(batch), args.micro):
                part = batch[at : at + args.micro]
                states, targets, of = self.hidden(self.inner, [self.rows[row] for row in part])
                with torch.no_grad():
                    z0 = torch.cat([self.start[row] for row in part]) @ self.head.T
                    log0 = z0.log_softmax(-1)
                    slope = log0.exp()
                    slope[torch.arange(len(targets)), targets] -= 1.0
                    slope *= (1.0 + args.rho * (2.0 * noise[part] - 1.0))[of][:, None]
                    base = torch.nn.functional.nll_loss(log0, targets, reduction="sum")
                z = states @ self.head.T
                loss = torch.nn.functional.cross_entropy(z, targets, reduction="sum") - base - ((z - z0) * slope).sum()
                (loss / tokens).backward()
                value += loss.item() / tokens
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        return value


def work(args, threads, numbers, ready, go, results):
    """Copies of one process; the value of the last step of each, and the peak of memory."""
    copies = Copies(args, threads)
    copies.copy(0)  # compiles, and fills caches
    ready.put(None)
    go.wait()
    values = [copies.copy(number) for number in numbers]
    results.put((values, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def alone(args):
    copies = Copies(args, args.threads)
    copies.copy(0)
    started = time.perf_counter()
    values = [copies.copy(number) for number in range(args.models)]
    return time.perf_counter() - started, [(values, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)]


def together(args):
    context = multiprocessing.get_context("spawn")
    ready, results, go = context.Queue(), context.Queue(), context.Event()
    threads = max(args.threads // args.processes, 1)
    parts = [list(range(first, args.models, args.processes)) for first in range(args.processes)]
    workers = [
        context.Process(target=work, args=(args, threads, part, ready, go, results), daemon=True) for part in parts
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get(timeout=600)
    started = time.perf_counter()
    go.set()
    done = [results.get() for _ in workers]
    return time.perf_counter() - started, done


def main():
    args = parser.parse_args()
    seconds, done = alone(args) if args.processes == 1 else together(args)
    import torch

    print(json.dumps({
        "models": args.models, "seconds": round(seconds, 3), "models_per_hour": round(3600 * args.models / seconds, 1),
        "objective": round(done[0][0][-1], 6), "peak_rss_mb": round(sum(peak for _, peak in done), 1),
        "micro": args.micro, "processes": args.processes, "compile": args.compile, "bf16": args.bf16,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
