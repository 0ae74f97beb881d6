#!/usr/bin/env bash
# Rankings of two builds of benches' `influence`, alternating in one run: medians for 1, 16, 64 and 256 target samples, exact, certified and by the planes.
#   benches/bounded_before_after.sh BEFORE AFTER [set...]     sets: noise spread outlier heavy (default: noise heavy)
#   BEFORE and AFTER: `cargo build --release -p gstore-benches --bin influence` of both commits, copied apart
#   ROWS, DIM, ROUNDS, THREADS; GSTORE_PEERS: python with benches/peers/requirements.txt; DIR: a folder with 4 GB free
set -euo pipefail
cd "$(dirname "$0")/.."
before="$1" after="$2"
shift 2
sets="${*:-noise heavy}"
python="${GSTORE_PEERS:-python3}"
threads="${THREADS:-2}"
dir="$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/bounded.XXXX")"
trap 'rm -rf "$dir"' EXIT
for set in $sets; do
    "$python" benches/peers/influence_vectors.py "$set" "$dir/vectors" --rows "${ROWS:-100000}" --dim "${DIM:-4096}" >&2
    rm -rf "$dir/store"
    "$after" make --vectors "$dir/vectors" --store "$dir/store" --threads "$threads" --queries 1,16,64,256 >&2
    sim=cosine
    [ "$set" = heavy ] && sim=dot
    echo "== $set, $sim"
    "$python" - "$dir/store" "$sim" "$threads" "${ROUNDS:-15}" "$before" "$after" <<'PYTHON'
import json, statistics, subprocess, sys

store, sim, threads, rounds, *builds = sys.argv[1:]
servers = []
for build in builds:
    command = [build, "serve", "--store", store, "--sim", sim, "--threads", threads]
    servers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    servers[-1].stdout.readline()


def ask(server, **question):
    server.stdin.write(json.dumps({"do": "query", **question}) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


print("| queries | mode | before ms | after ms | after / before | rows scored |")
print("|---|---|---|---|---|---|")
for queries in (1, 16, 64, 256):
    for mode in ("exact", "certified", "cascade"):
        question = {"mode": mode, "queries": queries, "show": True}
        # The first answer opens the store; of the others each round counts by its best.
        first = [ask(server, untimed=1, **question) for server in servers]
        assert first[0]["rows"] == first[1]["rows"], (queries, mode)
        times = [[], []]
        for i in range(int(rounds)):
            for at in ((0, 1), (1, 0))[i % 2]:
                times[at].append(min(ask(servers[at], reps=3, **question)["ms"]))
        old, new = (statistics.median(each) for each in times)
        scored = " / ".join(str(answer["rows_scored"]) for answer in first)
        print(f"| {queries} | {mode} | {old:.2f} | {new:.2f} | {new / old:.3f} | {scored} |", flush=True)
for server in servers:
    server.stdin.close()
    server.wait()
PYTHON
done
