"""What the peers that score rows for queries share: flags, encoded records, batches, and the table that `gstore evaluate lds` reads."""

import json
import pathlib

import tokenizers
import torch
from pytorch_loop import encode


def arguments(parser):
    """Adds the flags of all of them."""
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("queries", type=pathlib.Path)
    parser.add_argument("--scores", type=pathlib.Path, help="CSV file for the scores: id, query, score")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--limit", type=int, help="rows and queries to take (default: all)")
    parser.add_argument("--threads", type=int, default=2)


def both(args):
    """The rows and the queries that the flags name, each as `read` gives them."""
    return (read(args.model, path, args.max_length, args.limit) for path in (args.rows, args.queries))


def read(model, path, max_length, limit=None):
    """Ids of the records, and `(token ids, labels)` of each, as `pytorch_loop.py` encodes them."""
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()][:limit]
    return [record["id"] for record in records], [encode(tokenizer, record["messages"], max_length) for record in records]


def padded(rows):
    """Token ids, labels and the mask of a batch, padded at the rows' ends."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows])
    return ids, labels, torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])


def write(path, rows, queries, found):
    """Writes `found[query, row]` as id, query, score."""
    lines = (f"{row},{query},{found[q, r]:.9e}" for q, query in enumerate(queries) for r, row in enumerate(rows))
    path.write_text("\n".join(["id,query,score", *lines]) + "\n", encoding="utf-8")
