#!/usr/bin/env bash
# Projected gradients of whole models, from JSONL to the finished index, side by side with bergson in one run.
#   benches/whole_models.sh [name]     GSTORE_SHARED: folder with models/ and data/; GSTORE_BERGSON: folder of a Python with bergson 2.5.1
#                                      ROUNDS (3), LIMIT (all rows), THREADS (2)
# Equal projected size: 16 x 16 values of each of the 28 linear modules, stored as f32. Both use the tokenizer's chat template and train
# on what assistants say. Raw results go to benches/results/<date>-<name>/whole_models.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
shared="${GSTORE_SHARED:-$PWD/../shared}"
threads="${THREADS:-2}"
out="benches/results/$(date +%F)-${1:-$(uname -m)}"
mkdir -p "$out"
results="$out/whole_models.jsonl"
cargo build --release -p gstore-ingest --example whole_model
program="${CARGO_TARGET_DIR:-target}/release/examples/whole_model"
python="${GSTORE_BERGSON:+$GSTORE_BERGSON/bin/python}"
python="${python:-python3}"
work="$(mktemp -d)"
# What a program that failed has said is in the log, which goes with the folder.
end() {
    [ "$1" = 0 ] || tail -n 40 "$work/log" >&2 || true
    rm -rf "$work"
}
trap 'end $?' EXIT
timed() { "$python" benches/peers/timed.py "$@" 2>>"$work/log" | tee -a "$results"; }

ours() { # name model rows.jsonl compute
    rm -rf "$work/store"
    timed "gstore $4, $1" "$program" "$work/store" "$3" "$2" "$4" "$threads"
}
theirs() { # name model rows.jsonl
    rm -rf "$work"/peer*
    OMP_NUM_THREADS="$threads" HF_HUB_OFFLINE=1 timed "bergson fp32, $1" "$GSTORE_BERGSON/bin/bergson" build "$work/peer" --model "$2" \
        --dataset "$3" --conversation_column messages --precision fp32 --projection_dim 16 --truncation true --token_batch_size 512
}
round() {
    ours "$@" f32
    ours "$@" bf16
    if [ -n "${GSTORE_BERGSON:-}" ]; then theirs "$@"; else echo "no GSTORE_BERGSON: the peer is left out" >&2; fi
}

: >"$results"
tiny="$shared/models/tiny-llama"
head -n "${LIMIT:-1000000}" "$shared/data/pool.jsonl" >"$work/pool.jsonl"
for _ in $(seq "${ROUNDS:-3}"); do round "tiny-llama, $(wc -l <"$work/pool.jsonl") rows" "$tiny" "$work/pool.jsonl"; done

echo "== a tenth, and ten times the rows: time and memory for each token stay"
head -n "$(($(wc -l <"$work/pool.jsonl") / 10))" "$work/pool.jsonl" >"$work/tenth.jsonl"
ours "tiny-llama, a tenth of the rows" "$tiny" "$work/tenth.jsonl" f32
for i in $(seq 10); do sed "s/\"id\": *\"/&$i-/" "$work/pool.jsonl"; done >"$work/pool10.jsonl"
ours "tiny-llama, ten times the rows" "$tiny" "$work/pool10.jsonl" f32

echo "== a larger shape: hidden 1024, 8 layers, rows of 512 tokens"
if "$python" -c 'import torch, transformers' 2>/dev/null; then
    mkdir "$work/large"
    "$python" benches/peers/make_large.py "$tiny" "$shared/data/pool.jsonl" "$work/large" --rows "${LARGE_ROWS:-48}" 2>>"$work/log"
    round "hidden 1024, ${LARGE_ROWS:-48} rows of 512" "$work/large/model" "$work/large/rows.jsonl"
fi
echo "results: $results"
