"""YAML of others as plain values: no code, no repeated keys, and bounded however its aliases multiply."""

from __future__ import annotations

from typing import Any

import yaml

_MAX_ALIASED = 100_000
"""Values that aliases may add; a few lines of aliases of aliases can mean billions."""


class YamlTextError(ValueError):
    """Not valid YAML: the problem, and the line if it is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line = problem, line


class _Loader(yaml.SafeLoader):
    """Loader of plain values that refuses a repeated key; PyYAML would silently drop the first value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Mapping of a node, each key once."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """Values of a YAML text.

    Raises:
        YamlTextError: Not valid YAML, nested too deeply, or enormous by its aliases.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            sizes: dict[int, int] = {}
            if _size(node, sizes) - len(sizes) > _MAX_ALIASED:
                raise YamlTextError(f"its aliases stand for more than {_MAX_ALIASED:,} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
        raise YamlTextError(problem, mark.line + 1 if mark else None) from None  # its text quotes the line
    except RecursionError as error:
        raise YamlTextError("nested too deeply") from error
    except YamlTextError:
        raise
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        # PyYAML passes on what its constructors raise at dates, numbers and times that do not exist.
        raise YamlTextError(str(error).partition("\n")[0]) from error


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of values of a node with its aliases written out; `sizes` are those of the nodes so far, by identity."""
    if id(node) not in sizes:
        sizes[id(node)] = _MAX_ALIASED * 10  # of a node inside itself
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [child for pair in children for child in (pair if isinstance(pair, tuple) else (pair,))]
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]
