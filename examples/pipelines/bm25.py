"""BM25 of the rows of a pool for queries, as scores that `gstore evaluate lds` reads.

    python bm25.py DIR

DIR has pool.jsonl and queries.jsonl; bm25.csv is written there. A line is a record with an `id` and the texts under
`messages` (a list with the text of each as `content`), or under `prompt`, `completion` and `text`, as far as it has
them; other forms that `gstore add` takes are not read. Words are runs of letters and digits in small
letters; k1 = 1.5, b = 0.75, and the inverse document frequency is ln(1 + (N - n + 0.5) / (n + 0.5)), which is
never negative. A query's words count as often as they occur. Needs Python alone.
"""

import collections
import csv
import json
import math
import pathlib
import re
import sys

K1, B = 1.5, 0.75


def text_of(record):
    if "messages" in record:
        return "\n".join(message["content"] for message in record["messages"])
    return "\n".join(record.get(key) or "" for key in ("prompt", "completion", "text"))


def read(path):
    records = [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]
    return [(str(record["id"]), re.findall(r"\w+", text_of(record).lower())) for record in records]


def scores(pool, queries):
    """Yields row, query and score for every pair."""
    documents = collections.defaultdict(list)
    lengths = [len(words) for _, words in pool]
    mean = sum(lengths) / len(lengths) or 1.0
    for place, (_, words) in enumerate(pool):
        for word, count in collections.Counter(words).items():
            documents[word].append((place, count))
    for query, words in queries:
        found = [0.0] * len(pool)
        for word, times in sorted(collections.Counter(words).items()):
            listed = documents.get(word, ())
            weight = math.log(1 + (len(pool) - len(listed) + 0.5) / (len(listed) + 0.5))
            for place, count in listed:
                scale = K1 * (1 - B + B * lengths[place] / mean)
                found[place] += times * weight * count * (K1 + 1) / (count + scale)
        for (row, _), score in zip(pool, found):
            yield row, query, score


def main(folder):
    pool, queries = read(folder / "pool.jsonl"), read(folder / "queries.jsonl")
    with (folder / "bm25.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "query", "score"])
        table.writerows(scores(pool, queries))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
