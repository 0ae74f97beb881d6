"""What the peers that score rows for queries share: encoded records, and the table that `gstore evaluate lds` reads."""

import json

import tokenizers
from pytorch_loop import encode


def read(model, path, max_length, limit=None):
    """Ids of the records, and `(token ids, labels)` of each, as `pytorch_loop.py` encodes them."""
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()][:limit]
    return [record["id"] for record in records], [encode(tokenizer, record["messages"], max_length) for record in records]


def write(path, rows, queries, found):
    """Writes `found[query, row]` as id, query, score."""
    lines = (f"{row},{query},{found[q, r]:.9e}" for q, query in enumerate(queries) for r, row in enumerate(rows))
    path.write_text("\n".join(["id,query,score", *lines]) + "\n", encoding="utf-8")
