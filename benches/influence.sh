#!/usr/bin/env bash
# Influence queries beside their peers, out of core, and their memory. Raw results go to benches/results/<date>-<name>/influence/.
#   benches/influence.sh [name] [part...]    parts: sets wide real million memory larger (default: all but larger)
#   GSTORE_PEERS: python with benches/peers/requirements.txt; DIR: a folder on the disk to measure, with 30 GB free (larger: 1.3 times the memory)
set -euo pipefail
cd "$(dirname "$0")/.."
export GSTORE_SHARED="${GSTORE_SHARED:-$PWD/../shared}"
name="${1:-$(uname -m)}"
shift || true
parts="${*:-sets wide real million memory}"
threads="${THREADS:-2}"
rounds="${ROUNDS:-7}"
python="${GSTORE_PEERS:-python3}"
out="benches/results/$(date +%F)-$name/influence"
mkdir -p "$out"
if [ -z "${OURS:-}" ]; then
    cargo build --release -p gstore-benches
    OURS="${CARGO_TARGET_DIR:-target}/release/influence"
fi
dir="$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/influence.XXXX")"
trap 'rm -rf "$dir"' EXIT
peers=benches/peers

vectors() { # set rows dim [more]
    "$python" $peers/influence_vectors.py "$1" "$dir/vectors" --rows "$2" --dim "$3" "${@:4}" >&2
}
make() { # [flags]
    rm -rf "$dir/store"
    "$OURS" make --vectors "$dir/vectors" --store "$dir/store" --threads "$threads" "$@"
}
side_by_side() { # file [flags]
    "$python" $peers/influence.py --ours "$OURS" --store "$dir/store" --vectors "$dir/vectors" --threads "$threads" \
        --rounds "$rounds" --out "$out/$1" "${@:2}"
}
once() { # [flags]
    "$OURS" once --store "$dir/store" --threads "$threads" "$@"
}

for part in $parts; do
    echo "== $part"
    case "$part" in
    sets) # 100,000 x 4,096
        for set in noise spread outlier heavy; do
            vectors $set 100000 4096
            make >>"$out/made.jsonl"
            side_by_side "$set.jsonl"
        done
        ;;
    real)
        "$OURS" real --dim 4096 --threads "$threads" --out "$dir/real"
        vectors real 100000 4096 --real "$dir/real"
        make >>"$out/made.jsonl"
        side_by_side real.jsonl
        ;;
    wide) # 100,000 x 16,384
        vectors noise 100000 16384
        make >>"$out/made.jsonl"
        side_by_side wide.jsonl --tools "torch bf16" --queries 1,16
        ;;
    million) # 1,000,000 x 4,096, and the linear cost: 1x, 10x, 100x rows
        vectors noise 1000000 4096
        rm -f "$out/linear.jsonl"
        for rows in 10000 100000 1000000; do
            make --limit $rows >>"$out/made.jsonl"
            side_by_side linear.jsonl --tools "" --queries 1 --limit $rows
            once --evict --times 3 --disk 4 | tee -a "$out/linear.jsonl"
        done
        "$python" $peers/influence_plot.py "$out/linear.jsonl" -o "$out/linear.svg" | tee "$out/linear.txt"
        ;;
    memory)
        vectors noise 100000 4096
        make --queries 1,16,256,1024 >>"$out/made.jsonl"
        rm -f "$out/memory.jsonl"
        for mode in exact cascade; do
            for k in 100 5000; do
                for queries in 1 16 256 1024; do
                    once --mode $mode --k $k --queries $queries | tee -a "$out/memory.jsonl"
                done
            done
        done
        ;;
    larger) # a store larger than memory, by repetition
        vectors noise 100000 4096
        rows="$(awk '/MemTotal/ { print int($2 * 1024 * 1.15 / 8192) }' /proc/meminfo)"
        make --no-sketch --limit "$rows" >>"$out/made.jsonl"
        head -c 1G /dev/zero >"$dir/bystander"
        once --disk 8 --times 3 --bystander "$dir/bystander" | tee "$out/larger.jsonl"
        ;;
    *)
        echo "no part $part" >&2
        exit 2
        ;;
    esac
done
"$python" $peers/influence_table.py "$out"/*.jsonl >"$out/tables.md"
echo "results: $out"
