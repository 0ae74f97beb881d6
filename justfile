# Recipes for contributors, which `just --list` shows; `.ci/run` is the gate.

# formatting, lints and documentation
check:
    cargo fmt --all --check
    .ci/lints

# every test
test:
    CANDLE_NUM_THREADS=1 cargo test --workspace

# every test, and in full what they otherwise take a sample of: crashes at every operation, damages, kernels
test-full:
    GSTORE_EXHAUSTIVE=1 CANDLE_NUM_THREADS=1 cargo test --workspace

# random statements beside DuckDB, by a seed (GSTORE_PYTHON: a Python with docs/python-requirements.txt)
statements seed count="500":
    cargo build -p gstore-cli
    GSTORE_STATEMENTS="{{seed}} {{count}}" cargo test -p gstore-tests random_statements -- --nocapture

# what a training writes, gone on from by transformers and peft (GSTORE_PYTHON: a Python that has them and torch)
peft:
    cargo test -p gstore-train --test it -- --nocapture continued

# licences, advisories and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny check

# the binary that is handed out, target/dist/gstore: thin LTO, no symbols, every feature that needs no accelerator
dist:
    cargo build --locked --profile dist -p gstore-cli --features ann,hub,serve

# the kernels of `cuda/` as the PTX that is embedded, by nvcc 13.0 of PATH or of Python packages; builds of the crate need none of it
cuda-kernels:
    cuda/kernels/build

# the main job on bundled input
demo:
    cargo run --release -p gstore-cli -- demo

# the demo's model and its warm-up trained by gstore, from the data of demo/make, into a folder; goes on after a stop
demo-model folder *more="":
    cargo build --release -p gstore-cli
    mkdir -p {{folder}}
    python3 demo/make/generate.py --corpus {{folder}}/corpus.jsonl
    "${CARGO_TARGET_DIR:-target}/release/gstore" run examples/pipelines/demo-model.toml --set corpus={{absolute_path(folder)}}/corpus.jsonl --set out={{absolute_path(folder)}}/demo-model {{more}}

# sizes, long functions, wide structs, circles of modules, public names without users; several roots are set side by side
counts *roots=".":
    python3 benches/counts.py --list {{roots}}

# linear datamodeling scores of tiny-llama with LoRA on retrained models, into a folder; goes on after a stop
lds folder *more="":
    cargo build --release -p gstore-cli
    python3 benches/lds.py {{folder}} --gstore "${CARGO_TARGET_DIR:-target}/release/gstore" {{more}}

# perturbed copies of tiny-llama beside the reference's losses, LESS and families left out, into a folder; goes on after a stop
daunce-truth folder *more="":
    cargo build --release -p gstore-cli
    python3 benches/daunce_truth.py {{folder}} --gstore "${CARGO_TARGET_DIR:-target}/release/gstore" {{more}}

# benchmarks with their peers; see benches/README.md
bench:
    benches/run.sh

# a server under clients, beside pyarrow's (GSTORE_PYTHON: a Python with pyarrow); `just serve-bench STORE 0.5 --dropped 100 --idle 500` is the short form
serve-bench store minutes="30" *more="":
    cargo build --release -p gstore-cli -p gstore-benches --bin gstore --bin statement
    "${GSTORE_PYTHON:-python3}" benches/serve.py "${CARGO_TARGET_DIR:-target}/release/gstore" \
        --statement "${CARGO_TARGET_DIR:-target}/release/statement" --store {{store}} --minutes {{minutes}} {{more}}

# crashes, failing disks, concurrent processes and servers under clients in full form; the figures go to a page, for example docs/faults/2026-01-31.md
crash page="target/faults.md":
    cargo run --release -p gstore-faults -- all --full --page {{page}}

# the kernels of 64-bit ARM, on another machine under an emulator (Debian: gcc-aarch64-linux-gnu, qemu-user; rustup target add aarch64-unknown-linux-gnu)
arm:
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test --target aarch64-unknown-linux-gnu -p gstore-query --no-default-features --lib

# one parser under libFuzzer; targets are the folders of fuzz/corpus
fuzz target seconds="600":
    fuzz/run.sh {{target}} {{seconds}}

# every bit of every file of a small store flipped, every length cut
flips:
    GSTORE_FLIPS=full cargo test --release -p gstore-store --test it flips -- --nocapture
