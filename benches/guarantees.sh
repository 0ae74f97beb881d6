#!/usr/bin/env bash
# What rankings promise, counted at length: raw results go to benches/results/<date>-<name>/guarantees_*.jsonl.
#   benches/guarantees.sh [name]     GSTORE_SHARED: folder with models/ and data/; GSTORE_KEEP: where features are kept (3 GB; default: temporary)
# Times are of two cores; counts do not depend on the machine, but the last digits of a few may on its instruction set.
set -euo pipefail
cd "$(dirname "$0")/.."
export GSTORE_SHARED="${GSTORE_SHARED:-$PWD/../shared}"
out="benches/results/$(date +%F)-${1:-$(uname -m)}"
mkdir -p "$out"
cargo build --release -p gstore-benches --bin guarantees
program="${CARGO_TARGET_DIR:-target}/release/guarantees"
keep="${GSTORE_KEEP:-$(mktemp -d)}"
[ -n "${GSTORE_KEEP:-}" ] || trap 'rm -rf "$keep"' EXIT
run() { # file arguments
    local file="$out/guarantees_$1.jsonl"
    shift
    "$program" --keep "$keep" "$@" | tee "$file"
}
run accuracy accuracy
run adversarial adversarial
run real real
run tolerance tolerance
for miss in 1e-1 1e-2 1e-3; do run "planes_$miss" planes --miss "$miss"; done
run storage storage
echo "results: $out"
