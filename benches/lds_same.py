"""Our scores by the methods of the peers: same weights, output function, damping and size of the projection.

| name | the peer's method | what both do |
|---|---|---|
| `trak_loss` | traker | gradients of the mean loss at all checkpoints, 2,048 values, a tenth of the mean eigenvalue as damping |
| `trak_margin` | traker; bergson's `trak` | TRAK's margin summed over scored tokens, at the last checkpoint, 2,048 values, the same damping, times Q |
| `trak_undamped` | traker | the same with 256 values and no damping, the library's default |
| `cosine` | bergson's `cosine` | cosines of whole gradients at the last checkpoint |
| `ekfac` | Kronfluence | EK-FAC of all linear layers, labels drawn from the model, a tenth of each module's mean as damping |
| `logra` | dattri, LogIX | gradients of the base's linear layers, 16 x 16 values of each, its own Gram matrix, a tenth of the mean eigenvalue as damping |

One checkpoint needs no weights between checkpoints: traker divides each inverse by the mean of its absolute
entries, we weigh checkpoints by numbers that are given. `trak_loss` has one weight for all, and so differs
from traker in that. A seed is that of the projection, of `ekfac` that of the drawn labels; `cosine` has none.
bergson's `trackstar` draws the labels of its Gram matrices from the model and ours are of the rows' own, so
these are two methods and not compared.
"""

import json
import tempfile

from measured import ours

EACH = "each => 'sample', k => 1000000"
Q = "WITH q AS (SELECT row, 1 - avg(exp(-vector[1])) AS q FROM vectors('pool', 'loss@{last}:token:sum') WHERE flags & 1 = 0 GROUP BY row) "
MARGIN = ["--loss", "margin", "--reduction", "sum"]


class Ours:
    """Scores of one pool and its queries, in a folder; those that are there stay."""

    def __init__(self, gstore, folder, model, texts, checkpoints):
        self.gstore, self.folder, self.model, self.texts, self.checkpoints = gstore, folder, model, texts, checkpoints
        folder.mkdir(parents=True, exist_ok=True)

    def scores(self, name, seed):
        """File of the scores of a method with a seed."""
        path = self.folder / f"{name}-{seed}.csv"
        if path.exists():
            return path
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            self.store, self.seconds, part = f"{work}/store", 0.0, f"{work}/scores.csv"
            for dataset, text in zip(("pool", "queries"), self.texts):
                self.run("add", "--dataset", dataset, "--data", text)
            getattr(self, name)(seed, part)
            (self.folder / f"{name}-{seed}.json").write_text(json.dumps({"ours": name, "seed": seed, "seconds": round(self.seconds, 1)}) + "\n")
            # The last step: a file of scores is whole.
            (self.folder / work / "scores.csv").rename(path)
        return path

    def run(self, *command):
        _, seconds, _ = ours(self.gstore, *command, "--store", self.store, "--quiet")
        self.seconds += seconds

    def gradients(self, checkpoints, *more):
        for dataset in ("pool", "queries"):
            self.run("ingest", "--dataset", dataset, "--model", self.model, "--checkpoints", *checkpoints, "--weights", *[1] * len(checkpoints),
                     "--run", "whole", "--features", "grad-sgd", "--max-length", 512, *more)

    def preconditioned(self, path, damping, q=""):
        self.run("factors", "gram", "gram", "--dataset", "pool", "--kind", "grad-sgd")
        value, join = ("score * q", " JOIN q USING (row)") if q else ("score", "")
        options = f"{EACH}, kind => 'grad-sgd', sim => 'dot', precondition => 'gram', damping => {damping}"
        self.run("query", f"{q}SELECT id, target, {value} AS score FROM influence('pool', 'queries', {options}){join}", "-o", path)

    def trak_loss(self, seed, path):
        self.gradients(self.checkpoints, "--dim", 2048, "--seed", seed)
        self.preconditioned(path, 0.1)

    def trak_margin(self, seed, path, dim=2048, damping=0.1):
        last = self.checkpoints[-1]
        self.gradients([last], *MARGIN, "--dim", dim, "--seed", seed)
        # Q: 1 - p, on average over the scored tokens of a row.
        self.run("generate", "--run", "whole", "--dataset", "pool", "--perplexity", "--per-token", "--as-features", "--max-length", 512,
                 "-o", f"{path}.tokens.parquet")
        self.preconditioned(path, damping, Q.format(last=last.name))

    def trak_undamped(self, seed, path):
        self.trak_margin(seed, path, dim=256, damping=0)

    def cosine(self, _, path):
        self.gradients(self.checkpoints[-1:], "--projection", "none")
        self.run("query", f"SELECT id, target, score FROM influence('pool', 'queries', {EACH}, kind => 'grad-sgd')", "-o", path)

    def logra(self, seed, path):
        for dataset in ("pool", "queries"):
            self.run("ingest", "--dataset", dataset, "--model", self.model, "--features", "grad-sgd", "--max-length", 512, "--reduction", "sum",
                     "--projection", "two_sided", "--module-dim", 256, "--seed", seed)
        self.preconditioned(path, 0.1)

    def ekfac(self, seed, path):
        self.run("factors", "fit", "curvature", "--dataset", "pool", "--model", self.model, "--checkpoint", self.checkpoints[-1], "--seed", seed,
                 "--max-length", 512)
        self.run("score", "--factors", "curvature", "--pool", "pool", "--target", "queries", "-o", path)
