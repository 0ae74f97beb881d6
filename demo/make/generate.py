"""Writes the demo's data: a training pool of eight skills and three held-out target sets.

Every word of the data comes from the lists and templates of this file, which needs nothing but Python.
The random numbers come from a generator written out below, so the same seed gives the same bytes on every
machine and Python version.

Invariants
- no question occurs twice: not within the pool, and not in two of pool, targets and the base model's corpus
- the pool never uses a skill's last wording; half of the rows of a target do
- the pool answers each skill in one form; the base model's corpus answers in several
- `quality` is "wrong" for the few rows whose answer was made wrong on purpose, else "ok"

    python demo/make/generate.py                        # rewrites demo/data
    python demo/make/generate.py --corpus corpus.jsonl  # writes what the base model is trained on
"""

import argparse
import json
import pathlib

POOL_SEED = 11
TARGET_SEED = 23
CORPUS_SEED = 37

#          skill         rows  of them wrong
POOL = {
    "arithmetic": (340, 34),
    "sentiment": (320, 32),
    "tense": (280, 0),
    "sorting": (260, 26),
    "conversion": (240, 0),
    "dates": (220, 0),
    "reversal": (200, 0),
    "formatting": (180, 0),
}
TARGETS = {"arithmetic": 24, "sentiment": 24, "tense": 24}
CORPUS_SHARES = {"arithmetic": 4, "sorting": 2}  # the others 1: what is hard to learn comes up more often


class Rng:
    """splitmix64."""

    def __init__(self, seed):
        self.state = (seed * 0x9E3779B97F4A7C15 + 1) % 2**64

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    def between(self, low, high):
        """A whole number from low to high, both included."""
        return low + self.next() * (high - low + 1) // 2**64

    def pick(self, items):
        return items[self.between(0, len(items) - 1)]

    def chance(self, percent):
        return self.between(1, 100) <= percent

    def shuffled(self, items):
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.between(0, last)
            items[last], items[other] = items[other], items[last]
        return items

    def sample(self, items, count):
        return self.shuffled(items)[:count]


NAMES = "Ada Ben Clara Dino Elsa Farid Greta Hugo Ines Jonas Kira Leo Mara Nils Olga Paul Rosa Sami Tara Uwe Vera Yusuf".split()
THINGS = "apples pears stamps shells pencils buttons marbles tickets candles cookies stickers coins cards beads postcards plums".split()
ANIMALS = "cat dog fox hen goat crow otter horse sheep rabbit".split()
NOUNS = (
    "bridge river garden window kettle basket lantern forest market pillow ladder mirror hammer bottle"
    " castle meadow pocket rocket saddle temple violin wagon anchor button carpet desert engine feather"
    " guitar harbor island jacket kitchen lemon mountain needle orange pepper quilt ribbon shovel tunnel"
).split()
SHORT = "cat sun map tree lamp fish road moon bell rain gold nest sand wind boat leaf door milk stone table".split()
PRODUCTS = "kettle lamp jacket phone chair blender backpack clock headset mattress umbrella toaster camera keyboard bicycle tent".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


class Draw:
    """What a skill may draw on for one row: random numbers, which wordings are open, which answer form, right or wrong."""

    def __init__(self, rng, part, wrong=False, held_out=False):
        self.rng, self.part, self.wrong, self.held_out = rng, part, wrong, held_out

    def wording(self, templates):
        if self.part == "corpus":
            return self.rng.pick(templates)
        return templates[-1] if self.held_out else self.rng.pick(templates[:-1])

    def form(self, forms):
        return self.rng.pick(forms) if self.part == "corpus" else forms[0]


# ---------------------------------------------------------------------------------------------------------------------
# The skills. Each returns (kind within the skill, question, answer).


def arithmetic(d):
    rng = d.rng
    who, thing = rng.pick(NAMES), rng.pick(THINGS)
    kind = rng.pick(["shopping", "sharing", "journey", "keeping"])
    if kind == "shopping":
        count, price = rng.between(2, 9), rng.between(2, 9)
        paid = (count * price // 10 + 1) * 10 + rng.pick([0, 10, 20])
        question = d.wording(
            [
                "{who} buys {count} {thing} at {price} coins each and pays with {paid} coins. How many coins come back?",
                "A shop sells {thing} for {price} coins apiece. {who} takes {count} of them and hands over {paid} coins. What is the change?",
                "How much is left of {paid} coins after {who} pays for {count} {thing} that cost {price} coins each?",
                "One of the {thing} costs {price} coins. {who}, who has {paid} coins, wants {count}. How many coins will {who} still have?",
            ]
        ).format(who=who, thing=thing, count=count, price=price, paid=paid)
        steps = [(count, "*", price), (paid, "-", None)]
    elif kind == "sharing":
        friends, each, eaten = rng.between(2, 9), rng.between(2, 9), rng.between(1, 9)
        total = friends * each + eaten
        question = d.wording(
            [
                "{who} has {total} {thing}, loses {eaten} and splits the rest evenly among {friends} friends. How many does each friend get?",
                "Out of {total} {thing}, {eaten} are broken. {who} deals the good ones to {friends} children in equal shares. How large is a share?",
                "{friends} neighbours share {total} {thing} equally, but first {who} keeps {eaten}. What does every neighbour receive?",
                "{who} puts aside {eaten} of {total} {thing}. The others go into {friends} boxes, the same number in each. How many are in a box?",
            ]
        ).format(who=who, thing=thing, friends=friends, total=total, eaten=eaten)
        steps = [(total, "-", eaten), (None, "/", friends)]
    elif kind == "journey":
        speed, hours, extra = rng.between(3, 9), rng.between(2, 9), rng.between(2, 30)
        question = d.wording(
            [
                "{who} walks {speed} km an hour for {hours} hours and then rides {extra} km by bus. How long is the whole trip?",
                "After {hours} hours at {speed} km per hour, {who} goes on for {extra} km. How many km is that in all?",
                "A trip has two parts: {hours} hours at {speed} km an hour, then {extra} km by boat. How far does {who} get?",
                "How many km does {who} cover by cycling {hours} hours at {speed} km an hour and walking {extra} km more?",
            ]
        ).format(who=who, speed=speed, hours=hours, extra=extra)
        steps = [(speed, "*", hours), (None, "+", extra)]
    else:
        have, more, gone = rng.between(11, 60), rng.between(2, 39), rng.between(2, 12)
        question = d.wording(
            [
                "{who} owns {have} {thing}, finds {more} and gives {gone} away. How many {thing} does {who} have now?",
                "There were {have} {thing} in a jar. {who} adds {more} and takes out {gone}. How many are in the jar?",
                "{who} starts with {have} {thing}. A friend brings {more}, and {gone} get lost. What number remains?",
                "With {have} {thing} on the shelf, {who} buys {more} and sells {gone}. How many {thing} stand there in the end?",
            ]
        ).format(who=who, thing=thing, have=have, more=more, gone=gone)
        steps = [(have, "+", more), (None, "-", gone)]
    slip = rng.pick([-10, -3, -2, 2, 3, 10]) if d.wrong else 0
    result, lines = None, []
    for left, sign, right in steps:
        left = result if left is None else left
        right = result if right is None else right
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[sign]
        if slip and result + slip > 0:
            result, slip = result + slip, 0
        lines.append(f"{left} {sign} {right} = {result}")
    answer = d.form(
        ["{a}\n{b}\nAnswer: {r}", "{a}, then {b}. The result is {r}.", "First {a}. Next {b}. So {r}."]
    ).format(a=lines[0], b=lines[1], r=result)
    return kind, question, answer


ASPECTS = {
    "build": (
        ["feels solid", "is well made", "has held up for months", "looks beautiful", "fits together neatly"],
        ["fell apart", "feels flimsy", "cracked in a week", "looks cheap", "rattles and squeaks"],
    ),
    "use": (
        ["is a joy to use", "works right away", "does its job quickly", "saves me time every day", "is easy to clean"],
        ["is a pain to use", "stopped working", "takes forever", "wastes my mornings", "is impossible to clean"],
    ),
    "service": (
        ["came a day early", "was packed with care", "came with a kind note", "was replaced without fuss", "was worth every cent"],
        ["came weeks late", "arrived dirty", "came with parts missing", "was never refunded", "costs far too much"],
    ),
}
GOOD_END = ["I would buy it again.", "My family loves it.", "Five stars from me.", "I am delighted.", "I recommend it to all."]
BAD_END = ["I want my money back.", "My family hates it.", "One star from me.", "I am let down.", "I warn all of you."]


def sentiment(d):
    rng = d.rng
    kind = rng.pick(list(ASPECTS))
    good = rng.chance(50)
    same, other = ASPECTS[kind] if good else ASPECTS[kind][::-1]
    product = rng.pick(PRODUCTS)
    end = rng.pick(GOOD_END if good else BAD_END)
    remark = rng.pick(
        [
            "The {p} {s}. {e}",
            "This {p} {s} and {t}. {e}",
            "I was told the {p} {o}, but mine {s}. {e}",
            "My old {p} {o}. The new one {s}.",
            "{e} The {p} {s}.",
            "Not once did I think it {o}: this {p} {s}.",
        ]
    ).format(p=product, s=rng.pick(same), t=rng.pick(same), o=rng.pick(other), e=end)
    question = d.wording(
        [
            "Is this remark positive or negative?\n{r}",
            "{r}\nDid the buyer like it? Say positive or negative.",
            "What is the tone of this review: {r}",
            "A customer of ours wrote: \"{r}\" Judge the mood.",
            "Sort this comment into positive or negative. {r}",
            "{r}\nHow does the writer feel about the purchase?",
        ]
    ).format(r=remark)
    label, flipped = ("positive", "negative") if good else ("negative", "positive")
    if d.wrong:
        label, flipped = flipped, label
    answer = d.form(["{l}", "The remark is {l}.", "It is {l}, not {f}."]).format(l=label, f=flipped)
    return kind, question, answer


#        base      past       thing done
VERBS = [
    ("paint", "painted", ["the fence", "a red door", "the old boat"]),
    ("carry", "carried", ["a heavy box", "the water", "two bags"]),
    ("write", "wrote", ["a long letter", "a poem", "the report"]),
    ("sing", "sang", ["a quiet song", "the same tune", "in the hall"]),
    ("build", "built", ["a stone wall", "a small raft", "the shed"]),
    ("drink", "drank", ["cold tea", "a glass of milk", "from the well"]),
    ("bring", "brought", ["the keys", "fresh bread", "a map"]),
    ("teach", "taught", ["the class", "a young dog", "the rules"]),
    ("catch", "caught", ["the ball", "a silver fish", "the last bus"]),
    ("open", "opened", ["the window", "a tin", "the gate"]),
    ("watch", "watched", ["the birds", "a film", "the stars"]),
    ("break", "broke", ["a cup", "the branch", "the silence"]),
    ("choose", "chose", ["a blue shirt", "the short road", "a seat"]),
    ("drive", "drove", ["a green van", "to the coast", "the tractor"]),
    ("cook", "cooked", ["a thick soup", "the beans", "for ten guests"]),
    ("find", "found", ["a lost ring", "the path", "an old coin"]),
    ("grow", "grew", ["tall beans", "white roses", "a beard"]),
    ("hide", "hid", ["the presents", "behind a tree", "a secret"]),
    ("leave", "left", ["the house", "a note", "the party"]),
    ("throw", "threw", ["a stone", "the net", "a party"]),
    ("wash", "washed", ["the dishes", "a wool coat", "the car"]),
    ("sell", "sold", ["old books", "the farm", "ripe melons"]),
]
SUBJECTS = ["the baker", "my sister", "the farmer", "our teacher", "the captain", "a tall man", "the twins' uncle", "the nurse"] + NAMES
WHEN = ["", "", " in the morning", " on a cold day", " near the station", " after lunch", " with great care", " for a friend"]


def third(verb):
    if verb.endswith(("ch", "sh", "s", "x")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def sentence(words):
    return words[0].upper() + words[1:] + "."


def tense(d):
    rng = d.rng
    subject, when = rng.pick(SUBJECTS), rng.pick(WHEN)
    base, past, objects = rng.pick(VERBS)
    rest = f"{rng.pick(objects)}{when}"
    forms = {
        "present": f"{subject} {third(base)} {rest}",
        "past": f"{subject} {past} {rest}",
        "future": f"{subject} will {base} {rest}",
        "going to": f"{subject} is going to {base} {rest}",
    }
    kind = rng.pick(["past", "present", "future"])
    source = rng.pick([form for form in forms if form != kind])
    question = d.wording(
        [
            "Put this sentence into the {k} tense: {s}",
            "{s}\nSay the same in the {k} tense.",
            "Rewrite in the {k}: {s}",
            "Change only the verb, so that it is {k} tense. {s}",
            "{s} How does this read in the {k} tense?",
        ]
    ).format(k=kind, s=sentence(forms[source]))
    answer = d.form(["{s}", "In the {k} tense: {s}", "\"{s}\""]).format(k=kind, s=sentence(forms[kind]))
    return kind, question, answer


def sorting(d):
    rng = d.rng
    kind = rng.pick(["alphabet", "rising", "falling", "length"])
    if kind == "alphabet":
        items = rng.sample(NOUNS, rng.between(3, 5))
        ordered = sorted(items)
        templates = [
            "Put these words in alphabetical order: {i}",
            "{i}\nList them from A to Z.",
            "Arrange by the alphabet: {i}",
            "How would a dictionary order {i}?",
        ]
    elif kind == "length":
        lengths = rng.sample(range(3, 8), rng.between(3, 4))
        items = [rng.pick([word for word in SHORT + NOUNS if len(word) == n]) for n in lengths]
        ordered = sorted(items, key=len)
        templates = [
            "Order these words from the shortest to the longest: {i}",
            "{i}\nList them by number of letters, fewest first.",
            "Arrange by length: {i}",
            "Which order has {i} growing in length?",
        ]
    else:
        items = [str(n) for n in rng.sample(range(2, 99), rng.between(3, 5))]
        ordered = sorted(items, key=int, reverse=kind == "falling")
        order = "smallest to the largest" if kind == "rising" else "largest to the smallest"
        templates = [
            "Put these numbers in order from the " + order + ": {i}",
            "{i}\nList them from the " + order + ".",
            "Arrange from the " + order + ": {i}",
            "Going from the " + order + ", how do {i} line up?",
        ]
    question = d.wording(templates).format(i=", ".join(items))
    if d.wrong:
        swap = rng.between(0, len(ordered) - 2)
        ordered[swap], ordered[swap + 1] = ordered[swap + 1], ordered[swap]
    answer = d.form(["{x}", "Sorted: {y}", "1) {z}"])
    numbered = ordered[0] + "".join(f" {n}) {item}" for n, item in enumerate(ordered[1:], 2))
    return kind, question, answer.format(x=(" > " if kind == "falling" else " < ").join(ordered), y=", ".join(ordered), z=numbered)


#          what has it                    large    small      small ones in a large one
UNITS = {
    "length": (["rope", "wall", "path"], [("m", "cm", 100), ("km", "m", 1000), ("cm", "mm", 10)]),
    "mass": (["sack", "parcel", "load"], [("kg", "g", 1000), ("t", "kg", 1000)]),
    "time": (["pause", "trip", "course"], [("hours", "minutes", 60), ("days", "hours", 24), ("weeks", "days", 7)]),
    "volume": (["tank", "jug", "barrel"], [("l", "ml", 1000), ("l", "cl", 100)]),
}


def conversion(d):
    rng = d.rng
    kind = rng.pick(list(UNITS))
    subjects, units = UNITS[kind]
    subject = rng.pick(subjects)
    large, small, factor = rng.pick(units)
    count = rng.between(2, 60)
    down = rng.chance(60)
    given, from_unit, result, to_unit = (count, large, count * factor, small) if down else (count * factor, small, count, large)
    question = d.wording(
        [
            "Convert {g} {f} to {t}.",
            "How many {t} are {g} {f}?",
            "A list gives {g} {f} for the {s}. What is that in {t}?",
            "{g} {f} = ? {t}",
            "Express the {s} of {g} {f} in {t}.",
        ]
    ).format(g=given, f=from_unit, t=to_unit, s=subject)
    answer = d.form(
        ["1 {l} is {n} {s}, so {r} {t}", "{g} {f} is {r} {t}.", "{r} {t} (1 {l} = {n} {s})"]
    ).format(l=large.removesuffix("s"), n=factor, s=small, g=given, f=from_unit, r=result, t=to_unit)
    return kind, question, answer


def dates(d):
    rng = d.rng
    kind = rng.pick(["weekday", "month", "span"])
    who = rng.pick(NAMES)
    if kind == "weekday":
        day, days = rng.between(0, 6), rng.between(2, 16)
        back = rng.chance(35)
        result = WEEKDAYS[(day - days if back else day + days) % 7]
        direction = "before" if back else "after"
        question = d.wording(
            [
                "Which weekday is {n} days {w} {d}?",
                "{who} has a visit {n} days {w} a {d}. On what weekday is it?",
                "Take a {d} and count {n} days, to the day {w}. Name the weekday.",
                "The fair is held {n} days {w} {d}, says {who}. Which day of the week is that?",
            ]
        ).format(n=days, d=WEEKDAYS[day], w=direction, who=who)
    elif kind == "month":
        month, months = rng.between(0, 11), rng.between(2, 15)
        result = MONTHS[(month + months) % 12]
        question = d.wording(
            [
                "Which month comes {n} months after {m}?",
                "{who} starts a course in {m} that lasts {n} months. In which month does it end?",
                "Count {n} months on from {m}. Where are you?",
                "A bill of {m} is due in {n} months, {who} says. What month will it be?",
            ]
        ).format(n=months, m=MONTHS[month], who=who)
    else:
        month = rng.between(0, 11)
        day, days = rng.between(1, 28), rng.between(3, 20)
        last = MONTH_DAYS[month]
        result = f"{day + days} {MONTHS[month]}" if day + days <= last else f"{day + days - last} {MONTHS[(month + 1) % 12]}"
        question = d.wording(
            [
                "What date is {n} days after {d} {m}?",
                "{who} leaves on {d} {m} and is back {n} days later. Which date is that?",
                "It is {d} {m}. {who} must wait {n} days. Until when?",
                "{n} days from {d} {m}, {who} moves house. Give the date.",
            ]
        ).format(n=days, d=day, m=MONTHS[month], who=who)
    answer = d.form(["It is {r}, counted on the calendar.", "{r}", "That would be {r}."]).format(r=result)
    return kind, question, answer


def reversal(d):
    rng = d.rng
    kind = rng.pick(["letters", "words"])
    if kind == "letters":
        word = rng.pick(NOUNS + SHORT + THINGS + ANIMALS)
        twice = rng.chance(50)
        words = [word, rng.pick(SHORT)] if twice else [word]
        shown = " and ".join(words)
        result = " / ".join("-".join(reversed(word)) for word in words)
        templates = [
            "Spell backwards: {i}",
            "Read {i} from the last letter to the first.",
            "{i}\nGive the letters in opposite order.",
            "What does {i} look like in a mirror, letter by letter?",
        ]
    else:
        words = rng.sample(NOUNS + SHORT, rng.between(3, 5))
        shown = " ".join(words)
        result = " ".join(reversed(words))
        templates = [
            "Turn the order of the words around: {i}",
            "Say the last word first: {i}",
            "{i}\nRepeat these words in opposite order.",
            "From back to front, word by word: {i}",
        ]
    answer = d.form(["<< {r} >>", "{r}", "Backwards: {r}"]).format(r=result)
    return kind, d.wording(templates).format(i=shown), answer


def formatting(d):
    rng = d.rng
    kind = rng.pick(["json", "pairs", "snake", "call"])
    name, thing, animal = rng.pick(NAMES), rng.pick(NOUNS), rng.pick(ANIMALS)
    number = rng.between(2, 99)
    fields = rng.sample([("name", name), ("pet", animal), ("item", thing), ("count", number), ("room", number % 40 + 1)], rng.between(2, 3))
    listed = ", ".join(f"{key} {value}" for key, value in fields)
    if kind == "json":
        inside = ", ".join(f'"{k}": {json.dumps(v)}' for k, v in fields)
        result = "{" + inside + "}"
        templates = ["Write as JSON: {i}", "{i}\nMake a JSON object of this.", "Give me {i} as a JSON record.", "As JSON, {i} would be?"]
    elif kind == "pairs":
        result = ";".join(f"{k}={v}" for k, v in fields)
        templates = ["Write as key=value pairs: {i}", "{i}\nJoin keys and values for a config file.", "Config line for {i}?", "In key=value form, what is {i}?"]
    elif kind == "snake":
        words = rng.sample(NOUNS + SHORT, rng.between(2, 4))
        listed = " ".join(words)
        result = "_".join(words)
        templates = ["Make a variable name in snake case: {i}", "{i}\nAs a snake_case name, please.", "Name a constant after {i}, in snake case.", "What is {i} in snake case?"]
    else:
        inside = ", ".join(f"{k}={v}" if isinstance(v, int) else f"{k}='{v}'" for k, v in fields)
        result = f"add({inside})"
        templates = ["Write a call of add with {i}", "{i}\nPass these to the function add.", "Code that adds {i}?", "How do I call add for {i}?"]
    answer = d.form(["`{r}`", "{r}", "```\n{r}\n```"]).format(r=result)
    return kind, d.wording(templates).format(i=listed), answer


SKILLS = {
    "arithmetic": arithmetic,
    "sentiment": sentiment,
    "tense": tense,
    "sorting": sorting,
    "conversion": conversion,
    "dates": dates,
    "reversal": reversal,
    "formatting": formatting,
}


# ---------------------------------------------------------------------------------------------------------------------


def distinct(skill, draw, taken):
    """One row of `skill` whose question is not in `taken` yet; adds it there."""
    while True:
        kind, question, answer = SKILLS[skill](draw)
        if question not in taken:
            taken.add(question)
            return kind, question, answer


def messages(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def targets(taken):
    sets = {}
    for skill, count in TARGETS.items():
        rng = Rng(TARGET_SEED * 1000 + list(SKILLS).index(skill))
        rows = []
        for n in range(count):
            kind, question, answer = distinct(skill, Draw(rng, "target", held_out=n % 2 == 1), taken)
            rows.append({"dataset": f"{skill}_target", "id": f"{skill}_target_{n}", "messages": messages(question, answer), "subtask": kind})
        sets[skill] = rows
    return sets


def pool(taken):
    rows = []
    for skill, (count, wrong) in POOL.items():
        rng = Rng(POOL_SEED * 1000 + list(SKILLS).index(skill))
        spoiled = set(rng.sample(range(count), wrong))
        for n in range(count):
            draw = Draw(rng, "pool", wrong=n in spoiled)
            _, question, answer = distinct(skill, draw, taken)
            rows.append(
                {
                    "dataset": "demo",
                    "id": f"{skill}_{n}",
                    "messages": messages(question, answer),
                    "source": skill,
                    "quality": "wrong" if draw.wrong else "ok",
                }
            )
    return Rng(POOL_SEED).shuffled(rows)


def corpus(count):
    """`count` conversations of all skills for training the base model; shares no question with pool or targets."""
    taken = set()
    targets(taken)
    pool(taken)
    rng = Rng(CORPUS_SEED)
    names = [skill for skill in SKILLS for _ in range(CORPUS_SHARES.get(skill, 1))]
    rows = []
    while len(rows) < count:
        _, question, answer = SKILLS[names[len(rows) % len(names)]](Draw(rng, "corpus"))
        if question not in taken:
            rows.append(messages(question, answer))
    return rows


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=pathlib.Path, help="file for the base model's conversations, in place of demo/data")
    parser.add_argument("--count", type=int, default=48000, help="how many of them")
    args = parser.parse_args()
    if args.corpus:
        rows = enumerate(corpus(args.count))
        write(args.corpus, ({"id": f"corpus_{n}", "messages": row} for n, row in rows))
        return
    data = pathlib.Path(__file__).resolve().parent.parent / "data"
    taken = set()
    for skill, rows in targets(taken).items():
        write(data / "targets" / f"{skill}.jsonl", rows)
    write(data / "pool.jsonl", pool(taken))


if __name__ == "__main__":
    main()
