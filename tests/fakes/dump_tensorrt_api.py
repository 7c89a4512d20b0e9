"""Write down the names of TensorRT's Python bindings, with every method's arguments: the source of tests/golden.

    python tests/fakes/dump_tensorrt_api.py > tests/golden/tensorrt_11.4.txt

Needs the wheel of the bindings alone; where no GPU is, their three native libraries can be empty ones that define the
few entry points which the bindings import. Nothing of TensorRT runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

CLASSES = (
    *("Builder", "IBuilderConfig", "INetworkDefinition", "OnnxParser", "ParserError", "IOptimizationProfile"),
    *("Runtime", "ICudaEngine", "IExecutionContext", "IHostMemory", "ITimingCache", "ITensor", "ILayer"),
    *("EngineInspector", "Refitter", "OnnxParserRefitter", "Logger", "ILogger", "Dims"),
)
ENUMS = (
    *("BuilderFlag", "NetworkDefinitionCreationFlag", "OnnxParserFlag", "MemoryPoolType", "DataType", "TensorIOMode"),
    *("HardwareCompatibilityLevel", "ProfilingVerbosity", "ExecutionContextAllocationStrategy", "ErrorCode"),
    *("LayerInformationFormat", "TensorLocation"),
)


def signatures(doc: str | None) -> Iterator[tuple[str, str]]:
    """(arguments, result) of every overload that a docstring of pybind11 lists; optional arguments end in =."""
    for line in (doc or "").strip().split("\n"):
        found = re.match(r"^\s*(?:\d+\.\s+)?\w+\((.*)\) -> (.*)$", line)
        if found:
            yield ", ".join(arguments(found[1])), found[2].split(".")[-1]


def arguments(text: str) -> Iterator[str]:
    """The names in a list of typed arguments."""
    depth, start = 0, 0
    for at, letter in enumerate(text + ","):
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            part = text[start:at].strip()
            start = at + 1
            if part:
                optional = "=" in re.sub(r"\[[^\]]*\]", "", part) and not part.startswith("*")
                yield part.split(":")[0].split("=")[0].strip() + "=" * optional


def lines(trt: Any) -> Iterator[str]:
    """One line per name."""
    yield f"version {trt.__version__}"
    for owner in CLASSES:
        kind = getattr(trt, owner, None)
        if kind is None:
            yield f"absent {owner}"
            continue
        yield from (f"init {owner}({given})" for given, _ in signatures(kind.__init__.__doc__))
        for name in sorted(name for name in dir(kind) if not name.startswith("_")):
            value = getattr(kind, name)
            if isinstance(value, property):
                yield f"property {owner}.{name}"
            elif callable(value):
                found = [f"method {owner}.{name}({given}) -> {result}" for given, result in signatures(value.__doc__)]
                yield from found or [f"method {owner}.{name}(*)"]
            else:
                yield f"value {owner}.{name}"
    for owner in ENUMS:
        members = sorted(getattr(getattr(trt, owner, None), "__members__", {}))
        yield from (f"enum {owner}.{name}" for name in members)


if __name__ == "__main__":
    import tensorrt_bindings

    print("\n".join(lines(tensorrt_bindings)))
