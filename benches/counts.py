"""Counts of the sources: sizes, long functions, wide structs, circles of modules, public names without users.

    python benches/counts.py [ROOT ...] [--list]

ROOT is a checkout; an older one comes out of `git archive REVISION | tar x -C FOLDER`. Several are set side by
side. --list names what is counted above a limit. The counts are scans of text, right to a few per cent: macros
are not expanded, and a name counts as used wherever its word occurs. Needs nothing but Python.
"""

import argparse
import re
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

AROUND = {"tests", "faults", "fuzz", "benches"}
PROGRAMS = {"cli"}
FUNCTION_LINES, FIELDS, SAME_NAME = 80, 10, 5

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<h>\#*)".*?"(?P=h)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]+?|[^\\'\n])'""",
    re.DOTALL,
)
FUNCTION = re.compile(r"\bfn\s+(\w+)")
PUBLIC = re.compile(
    r"^\s*pub (?:(?:const|async|unsafe|extern \"C\") )*(?:fn|struct|enum|trait|const|static|type|union) (\w+)", re.M
)
TYPE = re.compile(r"^(?:pub(?:\([\w ]+\))? )?(?:struct|enum|trait|type|union)\s+([A-Z]\w*)", re.M)


def blank(text):
    """Comments and literals as spaces, so that braces and words are those of code; lines stay."""
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def closing(text, opened):
    """The index after the bracket that closes the one at `opened`."""
    depth = 0
    for i in range(opened, len(text)):
        if text[i] in "{([":
            depth += 1
        elif text[i] in "})]":
            depth -= 1
            if depth == 0:
                return i + 1
    return len(text)


def without_tests(code):
    """Modules and items behind `#[cfg(test)]` as spaces."""
    for match in list(re.finditer(r"#\[cfg\(test\)\]", code)):
        end = min((i for i in (code.find("{", match.end()), code.find(";", match.end())) if i >= 0), default=len(code))
        end = closing(code, end) if end < len(code) and code[end] == "{" else end
        code = code[: match.start()] + re.sub(r"[^\n]", " ", code[match.start() : end]) + code[end:]
    return code


class File:
    def __init__(self, path, source):
        self.path, raw = path, path.read_text()
        code = blank(raw)
        self.code = without_tests(code)
        parts = list(path.relative_to(source).with_suffix("").parts)
        self.module = tuple(parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts)
        tests = re.search(r"^#\[cfg\(test\)\]\s*\nmod \w+ \{", code, re.M)
        self.lines = (code[: tests.start()] if tests else raw).count("\n")


def functions(file):
    for match in FUNCTION.finditer(file.code):
        body = re.compile(r"[{;]").search(file.code, signature_end(file.code, match.end()))
        if body and body.group() == "{":
            end = closing(file.code, body.start())
            yield match.group(1), file.code.count("\n", match.start(), end) + 1


def signature_end(code, at):
    opened = code.find("(", at)
    return closing(code, opened) if opened >= 0 else at


def structs(file):
    for match in re.finditer(r"\bstruct\s+(\w+)[^;{(]*\{", file.code):
        body = file.code[match.end() : closing(file.code, match.end() - 1) - 1]
        body, depth, fields = re.sub(r"#\[[^\]]*\]|->|=>", " ", body), 0, 0
        part = ""
        for char in body + ",":
            depth += (char in "{([<") - (char in "})]>")
            if char == "," and depth == 0:
                fields += ":" in part
                part = ""
            else:
                part += char
        yield match.group(1), fields


def uses(file):
    """Module paths that a file names with `crate`, `super` or `self` first."""
    prefix = {"crate": (), "self": file.module, "super": file.module[:-1]}
    for match in re.finditer(r"\b(crate|super|self)::((?:super::)*)([\w:]*)(\{)?", file.code):
        first, ups, path, group = match.groups()
        base = prefix[first]
        base = base[: len(base) - ups.count("super")] if ups else base
        path = tuple(p for p in path.split("::") if p)
        if group:
            inner = file.code[match.end() : closing(file.code, match.end() - 1) - 1]
            for item in re.split(r",(?![^{]*\})", inner):
                head = re.match(r"\s*([\w:]+)", item)
                yield base + path + (tuple(p for p in head.group(1).split("::") if p) if head else ())
        else:
            yield base + path


def circles(files):
    """Sets of sibling modules that use each other in a circle."""
    known = {file.module[:n] for file in files for n in range(1, len(file.module) + 1)}
    edges = defaultdict(lambda: defaultdict(set))
    for file in files:
        for path in uses(file):
            while path and path not in known:
                path = path[:-1]
            at = next((i for i, (a, b) in enumerate(zip(file.module, path)) if a != b), None)
            if at is not None:
                edges[path[:at]][file.module[at]].add(path[at])
    return [[parent, knot] for parent, graph in edges.items() for knot in knots(graph)]


def knots(graph):
    """Strongly connected parts of two or more."""
    reach = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            for to in graph.get(todo.pop(), ()):
                if to not in seen:
                    seen.add(to)
                    todo.append(to)
        reach[start] = seen
    found = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in graph if a in reach[a]}
    return [sorted(knot) for knot in found if len(knot) > 1]


def count(root, listed):
    crates = {}
    for manifest in sorted(root.glob("*/Cargo.toml")):
        source = manifest.parent / "src"
        crates[manifest.parent.name] = [File(path, source) for path in sorted(source.rglob("*.rs"))]
    words, around = {}, Counter()
    for name in crates:
        text = "\n".join(file.code for file in crates[name])
        words[name] = set(re.findall(r"\w+", text))
        for path in [*(root / name).glob("tests/**/*.rs"), *(root / name).glob("examples/**/*.rs")]:
            around.update(set(re.findall(r"\w+", path.read_text())))
    product = {name: files for name, files in crates.items() if name not in AROUND and files}
    every = [file for files in product.values() for file in files]
    lengths = sorted(file.lines for file in every)
    spans = [(n, name, file) for file in every for name, n in functions(file)]
    wide = [(n, name, file) for file in every for name, n in structs(file) if n > FIELDS]
    types = Counter(name for file in every for name in TYPE.findall(file.code))
    shared = {name: n for name, n in types.items() if n >= SAME_NAME}
    rings = [(name, *ring) for name, files in product.items() for ring in circles(files)]
    public, unused, outside = 0, [], 0
    for name, files in product.items():
        if name in PROGRAMS:
            continue
        names = [found for file in files for found in PUBLIC.findall(file.code)]
        product_words = set().union(*(words[other] for other in product if other != name), set())
        around_words = set(around).union(*(words[other] for other in crates if other in AROUND and other != name))
        public += len(names)
        left = [found for found in names if found not in product_words]
        outside += sum(found in around_words for found in left)
        unused += [f"{name}::{found}" for found in left if found not in around_words]
    if listed:
        show("functions", sorted(((n, f"{name} {f.path.relative_to(root)}") for n, name, f in spans if n > FUNCTION_LINES), reverse=True))
        show("structs", sorted(((n, f"{name} {f.path.relative_to(root)}") for n, name, f in wide), reverse=True))
        show("types", sorted(((n, name) for name, n in shared.items()), reverse=True))
        show("circles", [(len(ring), f"{name} {'::'.join(parent)} {' '.join(ring)}") for name, parent, ring in rings])
        show("public names without users", [(1, name) for name in sorted(unused)])
    return {
        "product crates": len(product),
        "lines of product code, without tests": sum(lengths),
        "files": len(lengths),
        "file, median lines": int(statistics.median(lengths)),
        "file, 90th percentile of lines": lengths[len(lengths) * 9 // 10],
        "file, most lines": lengths[-1],
        "functions": len(spans),
        "function, median lines": int(statistics.median(n for n, _, _ in spans)),
        "function, most lines": max(n for n, _, _ in spans),
        f"functions over {FUNCTION_LINES} lines": sum(n > FUNCTION_LINES for n, _, _ in spans),
        f"structs over {FIELDS} fields": len(wide),
        "struct, most fields": max((n for n, _, _ in wide), default=0),
        "cycles of top-level modules in a crate": sum(not parent for _, parent, _ in rings),
        "modules in the largest cycle": max((len(ring) for _, parent, ring in rings if not parent), default=0),
        "cycles of modules within a folder": sum(bool(parent) for _, parent, _ in rings),
        f"type names with {SAME_NAME} or more definitions": len(shared),
        "public names": public,
        "public names used only by tests and benchmarks": outside,
        "public names that no other crate uses": len(unused),
    }


def show(title, rows):
    print(f"\n{title}: {len(rows)}", file=sys.stderr)
    for n, what in rows:
        print(f"  {n:4} {what}", file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("roots", nargs="*", type=Path, default=[Path(__file__).resolve().parent.parent])
    arguments.add_argument("--list", action="store_true")
    options = arguments.parse_args()
    counts = [count(root, options.list) for root in options.roots]
    for key in counts[0]:
        print("|", key, "|", " | ".join(f"{each[key]:,}" for each in counts), "|")


if __name__ == "__main__":
    main()
