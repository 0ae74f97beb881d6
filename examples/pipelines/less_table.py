"""Table of less.toml's held-out losses, from the journal: python less_table.py less.state/journal.json

For each target the loss of the base model, of those tuned on random rows and on selected ones (means over the seeds), and
for how many seeds the selection is better.
"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        stages = json.load(file)["stages"]
    losses = {name: record["ran"]["summary"]["scored"]["loss"] for name, record in stages.items() if name.startswith("loss-")}
    targets = [name.removeprefix("loss-base-") for name in losses if name.startswith("loss-base-")]
    seeds = sorted({name.rsplit("-", 1)[1] for name in losses if name.startswith("loss-random-")})
    print("| target | base | random 5 % | selected 5 % | better |\n|---|---|---|---|---|")
    wins = 0
    for target in targets:
        random = [losses[f"loss-random-{target}-{seed}"] for seed in seeds]
        tuned = [losses[f"loss-tuned-{target}-{seed}"] for seed in seeds]
        better = sum(t < r for t, r in zip(tuned, random))
        wins += sum(tuned) < sum(random)
        means = (losses[f"loss-base-{target}"], sum(random) / len(seeds), sum(tuned) / len(seeds))
        print(f"| {target} |", " | ".join(f"{mean:.4f}" for mean in means), f"| {better} of {len(seeds)} |")
    print(f"\nThe selection is better for {wins} of {len(targets)} targets (mean over {len(seeds)} seeds).")


if __name__ == "__main__":
    main()
