"""Influence queries of a store beside their peers, alternating, on the same vectors. Appends one JSON line for each measurement.

    python benches/peers/influence.py --ours target/release/influence --store STORE --vectors FOLDER --out FILE.jsonl
        [--queries 1,16,256] [--rounds 5] [--tools ...] [--modes exact,certified,cascade] [--prompt]

Ours and the peers are two processes that keep everything in memory and answer one request at a time; which one is asked is drawn anew each
round. Before and after each request the bandwidth of memory is probed, by our process. A request is made once without the clock, so that
caches of the processor, threads and the clock rate are as after a query of the same kind, and then a few times with it.
With --prompt the measurements begin when a line is read from standard input.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

# Slower peers are asked in two rounds only; the first one named always.
SLOW = 500.0


class Server:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = json.loads(self.process.stdout.readline())

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended at {request}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ours", required=True)
    arguments.add_argument("--store", required=True)
    arguments.add_argument("--vectors", type=pathlib.Path, required=True)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--queries", default="1,16,256")
    arguments.add_argument("--modes", default="exact,certified,cascade")
    arguments.add_argument("--each", default="sample")
    arguments.add_argument("--tools", default="torch bf16,torch f16,torch f32,faiss flat f32,faiss SQ8")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--limit", type=int, help="rows of the store, where those are not all")
    arguments.add_argument("--prompt", action="store_true")
    options = arguments.parse_args()
    meta = json.loads((options.vectors / "meta.json").read_text())
    threads = ["--threads", str(options.threads)]
    ours = Server([options.ours, "serve", "--store", options.store, "--sim", meta["sim"], *threads])
    tools = [tool for tool in options.tools.split(",") if tool]
    peers = None
    if tools:
        script = str(pathlib.Path(__file__).with_name("scan_peers.py"))
        peers = Server([sys.executable, script, "--vectors", str(options.vectors), "--tools", ",".join(tools), *threads])
    modes = options.modes.split(",")
    counts = [int(count) for count in options.queries.split(",")]

    def measure(tool, count, untimed, reps, show=False):
        request = {"do": "query", "queries": count, "untimed": untimed, "reps": reps, "show": show}
        probe = lambda: ours.ask({"do": "probe"})["gb_per_s"]
        time.sleep(0.02)  # threads that still spin after the last request
        before = probe()
        if tool in modes:
            answer = ours.ask({**request, "mode": tool, "each": options.each})
        else:
            answer = peers.ask({**request, "tool": tool})
        return {"tool": tool, "queries": count, **answer, "probe": [before, probe()]}

    # The first touch of everything, and whether the programs agree.
    last = {}
    overlap = {}
    for count in counts:
        found = {}
        for tool in modes + tools:
            answer = measure(tool, count, 1 if tool in modes else 0, 1, show=True)
            last[tool, count] = answer["ms"][-1]
            found[tool] = set(answer["rows"])
        overlap[count] = {tool: len(found[tool] & found[modes[0]]) for tool in found}
    head = {"set": meta["set"], "rows": options.limit or meta["rows"], "dim": meta["dim"], "each": options.each}
    with open(options.out, "a") as out:
        about = {**head, "about": ours.hello, "overlap_with_" + modes[0]: overlap, "load": os.getloadavg()}
        if peers:
            about["peers"] = peers.hello
        out.write(json.dumps(about) + "\n")
        print(json.dumps(about), flush=True)
        if options.prompt:
            sys.stdin.readline()
        order = random.Random(1)
        begun = time.monotonic()
        for round in range(options.rounds):
            visits = [(tool, count) for count in counts for tool in modes + tools]
            order.shuffle(visits)
            for tool, count in visits:
                ms = last[tool, count]
                if tool in tools[1:] and ms > SLOW and round > 1:
                    continue
                reps = 3 if ms < 60 else 1
                line = measure(tool, count, 1 if ms < 1000 else 0, reps)
                last[tool, count] = min(line["ms"])
                out.write(json.dumps({**head, "round": round, **line}) + "\n")
        print(f"{options.rounds} rounds in {time.monotonic() - begun:.1f} s", flush=True)
    ours.close()
    if peers:
        peers.close()


if __name__ == "__main__":
    main()
