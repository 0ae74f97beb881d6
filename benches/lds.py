"""The table of linear datamodeling scores of tiny-llama with LoRA on a part of the pool.

    python benches/lds.py FOLDER [--gstore target/release/gstore] [--count 32] [--repeats 1] [--queries 6] [--dry-run]

Rows are those of golden/daunce (`train_rows` of its manifest), queries the first of each target. FOLDER gets
`data/` (pool, queries, scores of BM25) and what `examples/pipelines/lds.toml` makes: the store, the retrained
models' losses, and `lds/report`. The same command goes on after a stop. Needs Python and GSTORE_SHARED (default
../shared); another program's scores of the same ids are compared with the same models by
`gstore evaluate lds --store FOLDER/lds.gstore --ensemble retrained --scores FILE`.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def make(data, shared, queries):
    """Writes the pool, the queries, and the scores of BM25."""
    data.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((shared / "golden/daunce/manifest.json").read_text(encoding="utf-8"))
    pool = lines(shared / "data/pool.jsonl")
    rows = "".join(pool[row] + "\n" for row in manifest["train_rows"])
    chosen = []
    for target in sorted((shared / "data/targets").glob("*.jsonl")):
        for number, line in enumerate(lines(target)[:queries]):
            record = json.loads(line)
            record["id"] = f"{target.stem}-{number}"
            chosen.append(json.dumps(record) + "\n")
    for name, text in (("pool.jsonl", rows), ("queries.jsonl", "".join(chosen))):
        path = data / name
        # A file that stays as it is keeps its stages up to date.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "examples/pipelines/bm25.py", data], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gstore", default="target/release/gstore")
    parser.add_argument("--count", type=int, default=32, help="random halves of the pool")
    parser.add_argument("--repeats", type=int, default=1, help="models of each")
    parser.add_argument("--queries", type=int, default=6, help="of each target")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    shared = pathlib.Path(os.environ.get("GSTORE_SHARED", ROOT.parent / "shared")).resolve()
    folder, gstore = args.folder.resolve(), shutil.which(args.gstore) or args.gstore
    make(folder / "data", shared, args.queries)
    # Paths of a pipeline are below the folder of its file.
    shutil.copyfile(ROOT / "examples/pipelines/lds.toml", folder / "lds.toml")
    values = {"model": shared / "models/tiny-llama", "count": args.count, "repeats": args.repeats}
    command = [str(pathlib.Path(gstore).resolve()), "run", folder / "lds.toml"]
    command += [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    code = subprocess.run([*command, *(["--dry-run"] if args.dry_run else [])], cwd=folder).returncode
    report = folder / "lds/report/evaluation_report.md"
    if code == 0 and report.exists() and not args.dry_run:
        print(report.read_text(encoding="utf-8"))
    return code


if __name__ == "__main__":
    sys.exit(main())
