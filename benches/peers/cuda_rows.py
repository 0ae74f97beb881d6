"""Peers of the GPU backend on the same GPU, as rows of the table of `cuda/check`.

    python benches/peers/cuda_rows.py scan       scores and the first 100 of rows in half precision, by torch
    python benches/peers/cuda_rows.py products   the rate of a model's products in bf16, by torch
    python benches/peers/cuda_rows.py bergson    tokens per second of bergson's gradients, 16 x 16 a module, on random weights

Each row is printed when it is known. What is not there is said in a row. `--device cpu --toy` runs everything at a small size.
"""

import argparse
import os
import statistics
import tempfile
import time

# Before datasets and transformers are loaded: nothing is looked up on the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Name, width, layers, heads, vocabulary, rows of a pass: as in cuda/tests/speed.rs.
SHAPES = [
    ("pythia-14m", 128, 6, 4, 50304, 16),
    ("pythia-160m", 768, 12, 12, 50304, 16),
    ("pythia-1b", 2048, 16, 8, 50304, 16),
    ("pythia-6.9b", 4096, 32, 32, 50432, 4),
]
TOP = 100


def row(what, found, beside=""):
    print(f"table | {what:<62} | {found:<40} | {beside:<42} | -", flush=True)


def seconds(options, call):
    """Of the middle one of calls, of which the first ones are not timed."""
    wait = __import__("torch").cuda.synchronize if options.device == "cuda" else lambda: None
    times = []
    for number in range(2 + options.repeats):
        wait()
        begun = time.perf_counter()
        call()
        wait()
        if number >= 2:
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def scan(options):
    import torch

    rows, dim = (1000, 33) if options.toy else (1_000_000, 16_384)
    if options.device == "cuda":
        rows = min(rows, int(torch.cuda.mem_get_info()[0] * 0.8) // (2 * dim))
    dtype = torch.float32 if options.device == "cpu" else torch.float16
    stored = torch.empty(rows, dim, dtype=dtype, device=options.device)
    for start in range(0, rows, 1 << 14):
        stored[start : start + (1 << 14)].normal_()
    for count in [1, 64]:
        queries = torch.randn(count, dim, dtype=dtype, device=options.device)

        def search():
            # What the host gets: the first rows and their scores.
            return [part.cpu() for part in torch.topk(queries @ stored.T, min(TOP, rows), dim=1)]

        found = seconds(options, search)
        row(f"torch: {count} queries over {rows} x {dim} f16, first {TOP}", f"{found * 1e3:.2f} ms", "dot products, sums as cuBLAS has them")


def products(options):
    import torch

    for name, width, layers, _, vocab, batch in SHAPES[:1] if options.toy else SHAPES[2:]:
        tokens = 32 if options.toy else batch * 1024
        vocab = 61 if options.toy else vocab
        operations, needed = 0.0, 0.0
        maps = [(3 * width, width, layers), (width, width, layers), (4 * width, width, layers), (width, 4 * width, layers), (vocab, width, 1)]
        for out, width_in, times in maps:
            make = lambda *size: torch.randn(*size, device=options.device).to(torch.bfloat16)
            weight, x, grad = make(out, width_in), make(tokens, width_in), make(tokens, out)

            def both():
                for _ in range(4):
                    x @ weight.T
                    grad @ weight

            needed += seconds(options, both) / 4 * times
            operations += 4.0 * tokens * out * width_in * times
        row(f"torch: products of {name} alone, bf16 also of results", f"{operations / needed / 1e12:.1f} Tflop/s", "forward and backward")


def bergson(options):
    import torch

    try:
        from bergson.collection import collect_gradients
        from bergson.config.config import IndexConfig
        from bergson.gradients import GradientProcessor
        from datasets import Dataset
        from datasets.table import InMemoryTable
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    except ImportError as error:
        return row("bergson", f"skipped: {error}", "its wheels are not here")
    for name, width, layers, heads, vocab, batch in SHAPES:
        length = 1024
        if options.toy:
            width, layers, heads, vocab, batch, length = 32, 2, 4, 61, 2, 24
        try:
            config = GPTNeoXConfig(
                hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=vocab,
                max_position_embeddings=2048, tie_word_embeddings=False, dtype=torch.bfloat16,
            )
            with torch.device(options.device):
                torch.set_default_dtype(torch.bfloat16)
                model = GPTNeoXForCausalLM(config).eval()
                torch.set_default_dtype(torch.float32)
            model.requires_grad_(False)
            # Gradients have to come down to the first layer.
            model.get_input_embeddings().requires_grad_(True)
            count = batch * (1 if options.toy else 4)
            ids = torch.randint(0, vocab, (count, length)).tolist()
            columns = {"input_ids": ids, "labels": ids, "length": [length] * count}
            # With a fingerprint of its own: not every version of dill and pyarrow can hash a table.
            data = Dataset(InMemoryTable.from_pydict(columns), fingerprint=name)
            batches = [list(range(start, start + batch)) for start in range(0, count, batch)]
            with tempfile.TemporaryDirectory() as folder:
                # The first run warms up.
                for run in ["first", "second"]:
                    cfg = IndexConfig(run_path=f"{folder}/{run}", projection_dim=16, precision="bf16", token_batch_size=batch * length)
                    cfg.partial_run_path.mkdir(parents=True, exist_ok=True)
                    processor = GradientProcessor(projection_dim=16)
                    begun = time.perf_counter()
                    collect_gradients(model, data, processor, cfg, batches=batches)
                    if options.device == "cuda":
                        torch.cuda.synchronize()
                    taken = time.perf_counter() - begun
            row(f"bergson: {name}, tokens a second", f"{count * length / taken:.0f}", "16 x 16 a module, with its files")
        except Exception as error:  # of another library: the other rows are to follow
            row(f"bergson: {name}", f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160])
        finally:
            model = None
            if options.device == "cuda":
                torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["scan", "products", "bergson"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    {"scan": scan, "products": products, "bergson": bergson}[options.part](options)


if __name__ == "__main__":
    main()
