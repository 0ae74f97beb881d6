"""LESS on the demo's files in plain PyTorch: does the pool's right skill come out on top?

Per row, batch 1, float32, no projection: Adam features of the pool from each checkpoint's moments, plain gradients of the
targets, their cosine, weighted by the mean learning rate of the epoch that ends at the checkpoint, mean over the rows of
a subtask, maximum over subtasks. Prints for each target what its own skill has of the top 100 and of the pool.

    python demo/make/check.py [--scores FILE.safetensors]
"""

import argparse
import collections
import json
import pathlib
import time

import tokenizers
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

import tulu

DEMO = pathlib.Path(__file__).resolve().parent.parent
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def steps_and_weights(folder):
    """[(step, mean learning rate over the steps since the checkpoint before)], ascending by step."""
    steps = sorted(int(p.name.split("-")[1]) for p in folder.glob("checkpoint-*"))
    out, previous = [], 0
    for step in steps:
        log = json.loads((folder / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]
        rates = [entry["learning_rate"] for entry in log if previous < entry["step"] <= step and "learning_rate" in entry]
        assert len(rates) == step - previous, "the warm-up logs every step"
        out.append((step, sum(rates) / len(rates)))
        previous = step
    return out


def moments(checkpoint):
    """(exp_avg, exp_avg_sq), each flat over the adapter's parameters, which the file numbers in the model's order."""
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return tuple(torch.cat([state[n][key].flatten() for n in range(len(state))]) for key in ("exp_avg", "exp_avg_sq"))


class Gradients:
    """The adapter's gradient and the loss of one row at one checkpoint."""

    def __init__(self, checkpoint):
        base = LlamaForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
        self.model = PeftModel.from_pretrained(base, str(checkpoint), is_trainable=True).eval()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def of(self, ids, labels):
        loss = self.model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]), use_cache=False).loss
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)]), loss.item()


def unit(vector):
    return vector / vector.norm().clamp_min(1e-12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scores", type=pathlib.Path, help="also write cosines and scores of every pool row there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    pool = tulu.read(DEMO / "data" / "pool.jsonl")
    targets = {p.stem: tulu.read(p) for p in sorted((DEMO / "data" / "targets").glob("*.jsonl"))}
    questions = [(name, row) for name, rows in targets.items() for row in rows]
    encoded = [tulu.encode(tokenizer, row["messages"]) for row in pool]
    print(f"pool: {len(pool)} rows, {sum(len(ids) for ids, _ in encoded):,} tokens,", f"longest {max(len(ids) for ids, _ in encoded)}")

    checkpoints = steps_and_weights(DEMO / "warmup")
    total = sum(rate for _, rate in checkpoints)
    influence = torch.zeros(len(pool), len(questions))
    tensors = {}
    started = time.time()
    for step, rate in checkpoints:
        folder = DEMO / "warmup" / f"checkpoint-{step}"
        gradients, (m, v) = Gradients(folder), moments(folder)
        plain, target_loss = zip(*(gradients.of(*tulu.encode(tokenizer, row["messages"])) for _, row in questions))
        directions = torch.stack([unit(g) for g in plain])
        assert m.numel() == directions.shape[1], "moments do not fit the adapter"
        cosines, pool_loss = [], []
        for ids, labels in encoded:
            g, loss = gradients.of(ids, labels)
            adam = (BETA1 * m + (1 - BETA1) * g) / (BETA2 * v + (1 - BETA2) * g * g + EPS).sqrt()
            cosines.append(directions @ unit(adam))
            pool_loss.append(loss)
        cosines = torch.stack(cosines)
        influence += rate / total * cosines
        tensors[f"cos.{step}"] = cosines
        tensors[f"loss.pool.{step}"] = torch.tensor(pool_loss)
        tensors[f"loss.target.{step}"] = torch.tensor(target_loss)
        print(f"checkpoint-{step}: weight {rate / total:.4f}, mean cosine {cosines.mean():.3f}, {time.time() - started:.0f} s", flush=True)

    skills = collections.Counter(row["source"] for row in pool)
    order = {}
    print("target      in pool  top 100  which skills the top 100 has")
    for name, rows in targets.items():
        columns = [n for n, (target, _) in enumerate(questions) if target == name]
        kinds = sorted({row["subtask"] for row in rows})
        means = torch.stack(
            [influence[:, [c for c in columns if questions[c][1]["subtask"] == kind]].mean(1) for kind in kinds], 1
        )
        score = means.max(1).values
        order[name] = sorted(range(len(pool)), key=lambda n: (-score[n].item(), n))
        top = collections.Counter(pool[n]["source"] for n in order[name][:100])
        own = [n for n in order[name] if pool[n]["source"] == name]
        last = own[-(len(own) // 10) :]
        print(f"{name:12}{skills[name] / len(pool):7.3f}{top[name] / 100:9.2f}  {dict(top.most_common())}")
        for part, among in [("its skill", own), ("the last tenth of its skill", last), ("the top 100", order[name][:100])]:
            print(f"{'':14}wrong rows in {part}: {sum(pool[n]['quality'] == 'wrong' for n in among)} of {len(among)}")
        tensors[f"subtask_mean.{name}"] = means
        tensors[f"score.{name}"] = score
    tensors["influence"] = influence

    if args.scores:
        args.scores.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, args.scores)
        about = {
            "checkpoints": [{"step": step, "mean_lr": rate, "weight": rate / total} for step, rate in checkpoints],
            "pool_rows": len(pool),
            "question_order": [row["id"] for _, row in questions],
            "subtasks": {name: sorted({row["subtask"] for row in rows}) for name, rows in targets.items()},
            "top20": {n: [{"row": r, "id": pool[r]["id"], "score": tensors[f"score.{n}"][r].item()} for r in o[:20]] for n, o in order.items()},
            "tokens": [{"row": n, "input_ids": encoded[n][0], "labels": encoded[n][1]} for n in range(3)],
        }
        args.scores.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
