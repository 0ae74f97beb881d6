"""The table of linear datamodeling scores of tiny-llama with LoRA on a part of the pool.

    python benches/lds.py FOLDER [--gstore target/release/gstore] [--count 32] [--repeats 1] [--queries 6] [--copies 100]
                          [--dry-run] [--peers kronfluence,trak,bergson] [--seeds 3]

Rows are those of golden/daunce (`train_rows` of its manifest), queries the first of each target. FOLDER gets
`data/` (pool, queries, scores of BM25) and what `examples/pipelines/lds.toml` makes: the store, the retrained
models' losses, those of the perturbed copies, and `lds/report`. The same command goes on after a stop. Needs
Python and GSTORE_SHARED (default ../shared); another program's scores of the same ids are compared with the
same models by
`gstore evaluate lds --store FOLDER/lds.gstore --ensemble retrained --scores FILE`.

`--peers` scores the same rows and queries with the peers' own code, from the weights that ours score with,
into `peers/DIGEST/`, and puts all methods into one table on the same retrained models, `lds/report-peers`.
Where a peer has a method of ours, both are scored in the same way (benches/lds_same.py) with `--seeds` seeds
each, and the differences get intervals over queries and seeds (benches/paired.py), in `lds/pairs.jsonl`. This
Python needs their packages (peers/requirements.txt); a peer without its package is left out, which is said.
Scores that are there stay: the digest is of rows, queries, model and checkpoints, and for ours of the program
too, so that others have a folder of their own.
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

from lds_same import Ours
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
    """Of each package its methods: name, script, arguments, and our method that is the same, if there is one."""
    last = checkpoints[-1]

    def kronfluence():
        merged = place / "merged"
        if not merged.exists():
            ours(gstore, "merge", last, "--model", model, "-o", merged, "--quiet")
        yield "kronfluence", "kronfluence_factors.py", [merged, *texts, "--fisher", "true"], "ekfac"

    def trak():
        margin = [model, *texts, "--output", "margin", "--checkpoints", last]
        yield "trak_loss", "trak_scores.py", [model, *texts, "--checkpoints", *checkpoints], "trak_loss"
        yield "trak_margin", "trak_scores.py", margin, "trak_margin"
        yield "trak_undamped", "trak_scores.py", [*margin, "--dim", 256, "--damping", 0], "trak_undamped"

    def bergson():
        for method, same in (("cosine", "cosine"), ("trackstar", None), ("trak", "trak_margin")):
            yield f"bergson_{method}", "bergson_scores.py", [model, *texts, "--checkpoint", last, "--method", method], same

    return {"kronfluence": kronfluence, "trak": trak, "bergson": bergson}


def scored_by_peer(place, name, script, arguments, seed):
    """File of a peer's scores with a seed."""
    path = place / f"{name}-{seed}.csv"
    if not path.exists():
        part = path.with_suffix(".part")
        print(json.dumps({"peer": name, "seed": seed, **peer(script, *arguments, "--seed", seed, "--scores", part)}), flush=True)
        part.rename(path)
    return path


def with_peers(folder, model, gstore, names, count):
    """Scores by the peers, the table of all methods, and the differences of methods that are the same."""
    texts, checkpoints = inputs_of(folder)
    place = folder / "peers" / digest([*texts, model, *checkpoints])
    mine = Ours(gstore, place / f"ours-{digest([gstore])}", model, texts, checkpoints)
    # Files by `NAME-SEED`; of each pair its name and the methods whose seeds are compared.
    found, pairs = {}, {}
    for package, methods in peers_of(place, model, gstore, texts, checkpoints).items():
        if package not in names:
            continue
        if importlib.util.find_spec(package) is None:
            print(f"{package}: left out, since this Python has no such package (benches/peers/requirements.txt)", flush=True)
            continue
        for name, script, arguments, same in methods():
            # A method without a seed, and one that is compared with none of ours, is run once.
            seeds = range(count) if same not in (None, "cosine") else range(1)
            for seed in seeds:
                found[f"{name}-{seed}"] = scored_by_peer(place, name, script, arguments, seed)
                if same:
                    found[f"ours_{same}-{seed}"] = mine.scores(same, seed)
            if same:
                pairs[f"ours_{same} - {name}"] = [[f"{side}-{seed}" for seed in seeds] for side in (f"ours_{same}", name)]
    pipeline = tomllib.loads((folder / "lds.toml").read_text(encoding="utf-8"))
    stage = next(stage for stage in pipeline["stage"] if stage["name"] == "lds")
    own = [re.sub(r"\$\{(\w+)\}", lambda name: str(folder / pipeline["variables"][name[1]]), value) for value in stage["scores"]]
    evaluate = [gstore, "evaluate", "lds", "--store", folder / pipeline["store"], "--truth", folder / "lds/truth", "--force", "--quiet"]
    report, files = folder / "lds/report-peers", {name: f"{name}={path}" for name, path in found.items()}
    first = [file for name, file in files.items() if name.endswith("-0")]
    ours(*evaluate, "--random", "0", "--against", "random", "--scores", *own, *first, "--sql", *stage["sql"], "--report", report)
    print((report / "evaluation_report.md").read_text(encoding="utf-8"))
    if pairs:
        rows = folder / "lds/pairs.csv"
        ours(*evaluate, "--scores", *files.values(), "--rows", rows, "-o", folder / "lds/pairs.json")
        differences(rows, pairs, folder / "lds/pairs.jsonl")


def differences(rows, pairs, path):
    """Prints the difference of each pair with its intervals, and writes them."""
    import paired  # numpy, which the table without peers does not need

    values, lines = paired.read(rows), []
    for name, sides in pairs.items():
        compared = paired.compare(*([values[method] for method in side] for side in sides))
        print(paired.sentence(name, compared), flush=True)
        lines.append(json.dumps({"pair": name, **compared}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gstore", default="target/release/gstore")
    parser.add_argument("--count", type=int, default=32, help="random halves of the pool")
    parser.add_argument("--repeats", type=int, default=1, help="models of each")
    parser.add_argument("--queries", type=int, default=6, help="of each target")
    parser.add_argument("--copies", type=int, default=100, help="perturbed copies of the model, for Daunce")
    parser.add_argument("--seeds", type=int, default=3, help="with --peers: of each method that is compared with ours")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another variable of the pipeline")
    parser.add_argument("--peers", default="", help="of kronfluence, trak and bergson, with commas between them")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    names = {name for name in args.peers.split(",") if name}
    if unknown := names - {"kronfluence", "trak", "bergson"}:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    if args.seeds < 1:
        parser.error("--seeds is at least 1")
    shared = pathlib.Path(os.environ.get("GSTORE_SHARED", ROOT.parent / "shared")).resolve()
    folder, gstore = args.folder.resolve(), shutil.which(args.gstore) or args.gstore
    make(folder / "data", shared, args.queries)
    # Paths of a pipeline are below the folder of its file.
    shutil.copyfile(ROOT / "examples/pipelines/lds.toml", folder / "lds.toml")
    gstore, model = pathlib.Path(gstore).resolve(), shared / "models/tiny-llama"
    # The pipeline trains two passes in batches of 16 rows.
    last = 2 * -(-len(lines(folder / "data/pool.jsonl")) // 16)
    values = {"model": model, "count": args.count, "repeats": args.repeats, "copies": args.copies, "last": last}
    variables = [f"{name}={value}" for name, value in values.items()] + args.set
    command = [gstore, "run", folder / "lds.toml", *(word for variable in variables for word in ("--set", variable))]
    code = subprocess.run([*command, *(["--dry-run"] if args.dry_run else [])], cwd=folder).returncode
    report = folder / "lds/report/evaluation_report.md"
    if code == 0 and report.exists() and not args.dry_run:
        print(report.read_text(encoding="utf-8"))
        if names:
            with_peers(folder, model, gstore, names, args.seeds)
    return code


if __name__ == "__main__":
    sys.exit(main())
