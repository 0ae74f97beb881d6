#!/usr/bin/env bash
# Runs one target under libFuzzer, guided by coverage: fuzz/run.sh <target> <seconds> [options of libFuzzer]
# Needs nothing but cargo: the compiler's own instrumentation is switched on by flags that the stable toolchain has.
# New inputs are kept in fuzz/found/<target>; failing ones in fuzz/failed/. `fuzz/run.sh <target> merge` puts those that
# reach something new into the corpus.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
seconds=${2:-600}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16"
features=""
[ "$target" = config ] && features=config # for which the whole program is built
{ [ "$target" = request ] || [ "$target" = upload ]; } && features=server # for which all of SQL is
cargo build --quiet --release --features "$features" --manifest-path libfuzzer/Cargo.toml --target "$host" --bin any
program=${CARGO_TARGET_DIR:-libfuzzer/target}/$host/release/any
mkdir -p "found/$target" failed
if [ "$seconds" = merge ]; then
    GSTORE_FUZZ_TARGET=$target exec "$program" -merge=1 -max_len=4096 "corpus/$target" "found/$target"
fi
GSTORE_FUZZ_TARGET=$target exec "$program" -max_total_time="$seconds" -rss_limit_mb=4096 -max_len=16384 -timeout=20 \
    -artifact_prefix="failed/$target-" -print_final_stats=1 "${@:3}" "found/$target" "corpus/$target"
