#!/usr/bin/env bash
# Every benchmark, side by side with its peer in one run. Raw results go to benches/results/<date>-<name>/.
#   benches/run.sh [name]          GSTORE_SHARED: folder with models/ and data/; GSTORE_PEERS: python with benches/peers/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/.."
export GSTORE_SHARED="${GSTORE_SHARED:-$PWD/../shared}"
threads="${THREADS:-2}"
out="benches/results/$(date +%F)-${1:-$(uname -m)}"
mkdir -p "$out"
python="${GSTORE_PEERS:-python3}"
target="${CARGO_TARGET_DIR:-target}/release"
cargo build --release --workspace

model="$(find "$GSTORE_SHARED/models" -mindepth 2 -maxdepth 2 -name config.json | sort | head -1 | xargs dirname)"
checkpoint="$(find "$model-warmup" -mindepth 1 -maxdepth 1 -name 'checkpoint-*' | sort -V | sed -n 2p)"

echo "== adapter gradients against a plain PyTorch loop, alternating"
: >"$out/gradients.jsonl"
for round in 1 2 3; do
    "$target/ingest" --threads "$threads" | tee -a "$out/gradients.jsonl"
    "$target/ingest" --threads "$threads" --bf16 | tee -a "$out/gradients.jsonl"
    "$target/ingest" --threads "$threads" --unprojected | tee -a "$out/gradients.jsonl"
    if "$python" -c 'import torch, peft' 2>/dev/null; then
        "$python" benches/peers/pytorch_loop.py "$model" "$checkpoint" "$GSTORE_SHARED/data/pool.jsonl" \
            --threads "$threads" --limit 1000 | tee -a "$out/gradients.jsonl"
    else
        echo "no PyTorch in $python: the peer is left out" >&2
    fi
done

echo "== the whole job, and the default projection against the exact gradients"
store="$(mktemp -d)"
trap 'rm -rf "$store"' EXIT
"$target/less" --threads "$threads" --keep "$store" >"$out/less.json"

echo "== scan against the machine's bandwidth"
"$target/scan" --threads "$threads" | tee "$out/scan.txt"
"$target/kernels" --threads "$threads" | tee "$out/kernels.txt"

echo "== gstore query, from start to answer"
sql="SELECT id, score FROM influence('pool', 'gsm8k') ORDER BY score DESC LIMIT 100"
: >"$out/query.txt"
for round in 1 2 3 4 5; do
    begun=$(date +%s%N)
    "$target/gstore" --store "$store/projected" query --format csv -o "$store/answer.csv" --force "$sql"
    echo "$(((($(date +%s%N) - begun)) / 1000000)) ms" | tee -a "$out/query.txt"
done
echo "results: $out"
