"""Two builds of the benchmark `influence` on one store, in turn: does a change make a query slower?

    python benches/before_after.py OLD/influence NEW/influence --store STORE [--rounds 15] [--out FILE.jsonl]

STORE is made by `influence make` (see benches/influence.sh). Each round asks both builds for each case, the one
that is asked first alternating; a line says the medians and their ratio. Needs nothing but Python.
"""

import argparse
import json
import statistics
import subprocess

MODES = ("exact", "certified", "cascade")


class Build:
    def __init__(self, path, options):
        command = [path, "serve", "--store", options.store, "--threads", str(options.threads), "--sim", options.sim]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.machine = json.loads(self.process.stdout.readline())["machine"]

    def ask(self, **request):
        self.process.stdin.write(json.dumps({"do": "query", **request}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return statistics.median(answer["ms"]), answer.get("rows")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("old")
    arguments.add_argument("new")
    arguments.add_argument("--store", required=True)
    arguments.add_argument("--sim", default="cosine")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--queries", default="1,16,256")
    arguments.add_argument("--modes", default=",".join(MODES))
    arguments.add_argument("--out")
    options = arguments.parse_args()
    builds = [Build(options.old, options), Build(options.new, options)]
    lines = [{"machine": builds[0].machine, "store": options.store, "rounds": options.rounds}]
    print(f"{'mode':10} {'queries':>7} {'old ms':>9} {'new ms':>9} {'new/old':>8}  same rows")
    for queries in map(int, options.queries.split(",")):
        for mode in options.modes.split(","):
            case = {"mode": mode, "queries": queries}
            rows = [build.ask(**case, untimed=2, reps=1, show=True)[1] for build in builds]
            times = [[], []]
            for number in range(options.rounds):
                for which in (0, 1) if number % 2 else (1, 0):
                    times[which].append(builds[which].ask(**case, reps=3)[0])
            old, new = map(statistics.median, times)
            same = rows[0] == rows[1]
            print(f"{mode:10} {queries:7} {old:9.2f} {new:9.2f} {new / old:8.3f}  {same}", flush=True)
            lines.append({**case, "old_ms": times[0], "new_ms": times[1], "ratio": new / old, "same_rows": same})
    if options.out:
        with open(options.out, "w") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
