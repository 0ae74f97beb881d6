"""The table of linear datamodeling scores of tiny-llama with LoRA on a part of the pool.

    python benches/lds.py FOLDER [--gstore target/release/gstore] [--count 32] [--repeats 1] [--queries 6] [--dry-run]
                          [--peers kronfluence,trak,bergson]

Rows are those of golden/daunce (`train_rows` of its manifest), queries the first of each target. FOLDER gets
`data/` (pool, queries, scores of BM25) and what `examples/pipelines/lds.toml` makes: the store, the retrained
models' losses, and `lds/report`. The same command goes on after a stop. Needs Python and GSTORE_SHARED (default
../shared); another program's scores of the same ids are compared with the same models by
`gstore evaluate lds --store FOLDER/lds.gstore --ensemble retrained --scores FILE`.

`--peers` scores the same rows and queries with the peers' own code, from the weights that ours score with, into
`peers/DIGEST/`, and puts all methods into one table on the same retrained models, `lds/report-peers`. This Python needs
their packages (peers/requirements.txt); a peer without its package is left out, which is said. Scores that are there
stay: the digest is of rows, queries, model and checkpoints, so that others have a folder of their own.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

from measured import ours, peer

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


def digest(paths):
    """Digest of files and of all files of folders, with their names."""
    whole = hashlib.sha256()
    for path in paths:
        for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]:
            with file.open("rb") as content:
                own = hashlib.file_digest(content, "sha256").hexdigest()
            whole.update(f"{path.name} {file.relative_to(path)} {own}\n".encode())
    return whole.hexdigest()[:16]


def inputs_of(folder):
    """Rows and queries, and the checkpoints in their order."""
    checkpoints = sorted((folder / "lds/whole").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return [folder / "data/pool.jsonl", folder / "data/queries.jsonl"], checkpoints


def peers_of(place, model, gstore, texts, checkpoints):
    """Of each package its methods: name, script and arguments."""
    merged = place / "merged"

    def kronfluence():
        if not merged.exists():
            ours(gstore, "merge", checkpoints[-1], "--model", model, "-o", merged, "--quiet")
        return [("kronfluence", "kronfluence_factors.py", [merged, *texts, "--fisher", "true"])]

    def trak():
        same = [model, *texts, "--checkpoints", *checkpoints]
        yield "trak_loss", "trak_scores.py", same
        yield "trak_margin", "trak_scores.py", [*same, "--output", "margin"]
        yield "trak_undamped", "trak_scores.py", [*same, "--output", "margin", "--dim", 256, "--damping", 0]

    def bergson():
        for method in ("cosine", "trackstar", "trak"):
            yield f"bergson_{method}", "bergson_scores.py", [model, *texts, "--checkpoint", checkpoints[-1], "--method", method]

    return {"kronfluence": kronfluence, "trak": trak, "bergson": bergson}


def with_peers(folder, model, gstore, names):
    """Scores by the peers, and the table of all methods."""
    texts, checkpoints = inputs_of(folder)
    place = folder / "peers" / digest([*texts, model, *checkpoints])
    place.mkdir(parents=True, exist_ok=True)
    scores = []
    for package, methods in peers_of(place, model, gstore, texts, checkpoints).items():
        if package not in names:
            continue
        if importlib.util.find_spec(package) is None:
            print(f"{package}: left out, since this Python has no such package (benches/peers/requirements.txt)", flush=True)
            continue
        for name, script, arguments in methods():
            path = place / f"{name}.csv"
            if not path.exists():
                part = path.with_suffix(".part")
                print(json.dumps({"peer": name, **peer(script, *arguments, "--scores", part)}), flush=True)
                part.rename(path)
            scores.append(f"{name}={path}")
    pipeline = tomllib.loads((folder / "lds.toml").read_text(encoding="utf-8"))
    stage = next(stage for stage in pipeline["stage"] if stage["name"] == "lds")
    own = [re.sub(r"\$\{(\w+)\}", lambda found: str(folder / pipeline["variables"][found[1]]), value) for value in stage["scores"]]
    report = folder / "lds/report-peers"
    command = [gstore, "evaluate", "lds", "--store", folder / pipeline["store"], "--truth", folder / "lds/truth", "--random", "0"]
    command += ["--against", "random", "--scores", *own, *scores, "--sql", *stage["sql"], "--report", report, "--force", "--quiet"]
    ours(*command)
    print((report / "evaluation_report.md").read_text(encoding="utf-8"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gstore", default="target/release/gstore")
    parser.add_argument("--count", type=int, default=32, help="random halves of the pool")
    parser.add_argument("--repeats", type=int, default=1, help="models of each")
    parser.add_argument("--queries", type=int, default=6, help="of each target")
    parser.add_argument("--peers", default="", help="of kronfluence, trak and bergson, with commas between them")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    names = {name for name in args.peers.split(",") if name}
    if unknown := names - {"kronfluence", "trak", "bergson"}:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    shared = pathlib.Path(os.environ.get("GSTORE_SHARED", ROOT.parent / "shared")).resolve()
    folder, gstore = args.folder.resolve(), shutil.which(args.gstore) or args.gstore
    make(folder / "data", shared, args.queries)
    # Paths of a pipeline are below the folder of its file.
    shutil.copyfile(ROOT / "examples/pipelines/lds.toml", folder / "lds.toml")
    gstore, model = pathlib.Path(gstore).resolve(), shared / "models/tiny-llama"
    values = {"model": model, "count": args.count, "repeats": args.repeats}
    command = [gstore, "run", folder / "lds.toml"]
    command += [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    code = subprocess.run([*command, *(["--dry-run"] if args.dry_run else [])], cwd=folder).returncode
    report = folder / "lds/report/evaluation_report.md"
    if code == 0 and report.exists() and not args.dry_run:
        print(report.read_text(encoding="utf-8"))
        if names:
            with_peers(folder, model, gstore, names)
    return code


if __name__ == "__main__":
    sys.exit(main())
