"""Intervals of the difference of two methods with the same queries, each with one or more seeds.

Queries are drawn with replacement, the same for both methods. Seeds are drawn for each method by itself, as a
seed of one program has nothing to do with the same number in another: of S of them S - 1 with replacement,
whose mean varies as much as the mean of S new seeds does (of S drawn ones it would vary by (S - 1) / S of
that). A method with one seed keeps it. Intervals are of 95 %, from the percentiles of the differences.

    >>> rng = numpy.random.default_rng(0)
    >>> noise = rng.normal(size=40)
    >>> found = compare(noise[None] + 0.25, noise[None])
    >>> found["difference"], found["queries_alone"], found["below"]
    (0.25, [0.25, 0.25], False)

Noise that both share is gone; that of seeds is not, and widens one interval alone:

    >>> found = compare(noise + [[0.0], [0.3], [-0.3]], noise[None] + 0.1)
    >>> found["difference"], found["queries_alone"], found["queries_and_seeds"]
    (-0.1, [-0.1, -0.1], [-0.4, 0.2])
    >>> compare(noise[None] - 0.1 - 0.01 * noise, noise[None])["below"]
    True
"""

import csv

import numpy

RESAMPLES = 10_000


def interval(differences):
    return [round(float(value) + 0.0, 4) for value in numpy.percentile(differences, [2.5, 97.5])]


def compare(ours, peer, resamples=RESAMPLES, seed=42):
    """`ours`, `peer`: values [seed, query]. The mean difference, ours less the peer's, and its intervals.

    `below`: whether ours are lower than the peer's by more than either interval leaves to chance.
    """
    ours, peer = (numpy.asarray(side, dtype=float) for side in (ours, peer))
    draw = numpy.random.default_rng(seed)
    queries = draw.integers(ours.shape[1], size=(resamples, ours.shape[1]))
    # Means over the drawn queries, [resample, seed].
    means = [numpy.stack([values[queries].mean(1) for values in side], axis=1) for side in (ours, peer)]

    def over_seeds(values):
        count = values.shape[1]
        chosen = draw.integers(count, size=(resamples, max(count - 1, 1)))
        return numpy.take_along_axis(values, chosen, axis=1).mean(1)

    alone = interval(means[0].mean(1) - means[1].mean(1))
    both = interval(over_seeds(means[0]) - over_seeds(means[1]))
    return {
        "difference": round(float(ours.mean() - peer.mean()), 4), "queries_alone": alone, "queries_and_seeds": both,
        "below": max(alone[1], both[1]) < 0, "queries": ours.shape[1], "ours": by_seed(ours), "peer": by_seed(peer),
    }


def by_seed(values):
    return [round(float(mean), 4) for mean in values.mean(1)]


def read(path):
    """Values [query] of each method of `rows.csv`, the queries in one order."""
    found = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            found.setdefault(line["method"], {})[line["query"]] = float(line["lds"])
    order = sorted(next(iter(found.values())))
    return {method: numpy.array([values[query] for query in order]) for method, values in found.items()}


def sentence(name, found):
    """A line for people."""
    between = lambda bounds: f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
    seeds = f"{len(found['ours'])} + {len(found['peer'])} seeds"
    mean = lambda values: sum(values) / len(values)
    return (f"{name}: ours {mean(found['ours']):.3f}, peer {mean(found['peer']):.3f}, difference {found['difference']:+.3f}, 95 % "
            f"{between(found['queries_and_seeds'])} over {found['queries']} queries and {seeds}, {between(found['queries_alone'])} over queries alone")
