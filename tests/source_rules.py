"""Rules about the source text that no linter has: banned words, sizes, import cycles, tests that mirror modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

BANNED = (
    r"houses?", r"floors?", r"rooms?", r"doors?", r"wings?",
    r"paint(?:s|ed|er|ers|ing|ings)?", r"ask(?:s|ed|ing)?", r"gauges?", r"contracts?", r"lie|lies|lying",
    r"mend(?:s|ed|ing)?", r"anew", r"wish(?:es|ed)?", r"doubt(?:s|ed|ful)?", r"beside", r"whoever", r"nobody",
    r"dear(?:er|est)?",
)  # fmt: skip
"""Words of private language, metaphors and personification, for which the field has others (`CONTRIBUTING.md`)."""

ALLOWED = (
    r"(?:math|np|torch|numpy)\.floor\b",
    r"\brounding_mode=.floor.",
)
"""Names of other packages."""

_BANNED = re.compile(rf"(?<![\w.])(?:{'|'.join(BANNED)})(?!\w)", re.IGNORECASE)


def banned_words(text: str, names_of_things: Iterable[str] = ()) -> list[tuple[int, str]]:
    """(line number, word) of every banned word of a text.

    Args:
        text: Source, Markdown or YAML.
        names_of_things: Words that are data here, such as the class "floor".
    """
    allowed = re.compile("|".join([*ALLOWED, *(rf"\b{re.escape(name)}\b" for name in names_of_things)]))
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        found += [(number, match.group()) for match in _BANNED.finditer(allowed.sub("", line))]
    return found


def modules_of(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name; a package stands for its `__init__`."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def num_lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())


def crowded_folders(package: Path, limit: int) -> dict[str, int]:
    """Folders with more modules than the limit; `__init__` and data files do not count."""
    counts: dict[str, int] = {}
    for path in package.rglob("*.py"):
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(package.parent))
            counts[folder] = counts.get(folder, 0) + 1
    return {folder: count for folder, count in counts.items() if count > limit}


def percentile_90(lengths: Iterable[int]) -> int:
    """The length that 90 % of the modules do not exceed."""
    ordered = sorted(lengths)
    return ordered[max(0, -(-len(ordered) * 9 // 10) - 1)]


def imported_by(tree: ast.AST, names: Mapping[str, Path]) -> Iterator[str]:
    """Modules of the package that a module imports, at its top or late, but not for type checkers only."""
    for node in _run_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else str(node.module)


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield other
                yield from _run_nodes(other)
            continue
        yield node
        yield from _run_nodes(node)


def import_graph(names: Mapping[str, Path]) -> dict[str, set[str]]:
    """Imports among the modules, late ones included."""
    return {name: set(imported_by(ast.parse(path.read_text()), names)) - {name} for name, path in names.items()}


def import_cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other in a circle (strongly connected components of more than one module)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in graph:
        _visit(start, graph, seen, order)
    backward: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            backward.setdefault(target, set()).add(name)
    seen.clear()
    found = []
    for start in reversed(order):
        group: list[str] = []
        _visit(start, backward, seen, group)
        if len(group) > 1:
            found.append(sorted(group))
    return found


def _visit(start: str, graph: Mapping[str, set[str]], seen: set[str], order: list[str]) -> None:
    """Depth-first walk that appends names in the order in which they are left."""
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(sorted(graph.get(start, ()))))]
    while stack:
        name, targets = stack[-1]
        following = next((target for target in targets if target not in seen), None)
        if following is None:
            order.append(name)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(sorted(graph.get(following, ())))))


def layers_of(config: str) -> list[set[str]]:
    """The layers in `pyproject.toml`: for each line the packages that share it."""
    block = re.search(r"layers = \[\n(.*?)\n\]", config, re.DOTALL)
    assert block is not None
    return [set(re.split(r" [|:] ", line)) for line in re.findall(r'"([^"]+)"', block.group(1))]


def within_layer(graph: Mapping[str, set[str]], layer: set[str]) -> dict[str, set[str]]:
    """The part of an import graph whose modules are in one layer."""

    def inside(name: str) -> bool:
        return any(name == package or name.startswith(f"{package}.") for package in layer)

    return {name: {target for target in targets if inside(target)} for name, targets in graph.items() if inside(name)}


def mirrored_module(test: Path, tests: Path, names: Mapping[str, Path], root: str = "distill") -> str | None:
    """The module that a test file belongs to: `a/test_b.py` and `a/test_b_more.py` test `distill.a.b`."""
    folder = ".".join((root, *test.relative_to(tests).parent.parts))
    words = test.stem.removeprefix("test_").split("_")
    candidates = (f"{folder}.{'_'.join(words[:end])}" for end in range(len(words), 0, -1))
    return next((name for name in candidates if name in names), None)
