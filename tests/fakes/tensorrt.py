"""A fake of TensorRT's Python module, for machines without a GPU: it knows the names and arguments of the real one.

Its classes are made from `tests/golden/tensorrt_*.txt`, which `dump_tensorrt_api.py` wrote down from the real bindings
(with their native libraries stubbed). A name that the real module lacks is an AttributeError here, a wrong argument a
TypeError. Nothing is computed: an engine of it gives what the test tells it to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
VERSIONS = ("10.16", "11.4")


class FakeTensorRt:
    """The module. `calls` lists every call that was made."""

    def __init__(self, version: str, outputs: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None) -> None:
        self.calls: list[str] = []
        self.outputs = outputs
        self._signatures: dict[str, list[list[str]]] = {}
        self._members: dict[str, set[str]] = {}
        returns: dict[str, str] = {}
        enums: dict[str, list[str]] = {}
        for line in (GOLDEN / f"tensorrt_{version}.txt").read_text().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "version":
                self.__version__ = rest
            elif kind in ("method", "init"):
                found = re.match(r"([\w.]+)\((.*?)\)(?: -> (.*))?$", rest)
                assert found is not None, line
                name = found[1] if kind == "method" else f"{found[1]}.__init__"
                self._signatures.setdefault(name, []).append([a for a in found[2].split(", ") if a and a != "self"])
                self._members.setdefault(name.partition(".")[0], set()).add(name.partition(".")[2])
                returns[name] = found[3] or ""
            elif kind in ("property", "value"):
                owner, _, member = rest.partition(".")
                self._members.setdefault(owner, set()).add(member)
            elif kind == "enum":
                owner, _, member = rest.partition(".")
                enums.setdefault(owner, []).append(member)
        for owner, members in enums.items():
            setattr(self, owner, SimpleNamespace(**{member: index for index, member in enumerate(members)}))
        self._returns = returns

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._members:
            raise AttributeError(f"tensorrt {self.__version__} has no {name}")
        return _Class(self, name)

    def check_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse arguments that no overload of the real function takes."""
        self.calls.append(name)
        for parameters in self._signatures[name]:
            names = [parameter.rstrip("=") for parameter in parameters]
            needed = {parameter for parameter in parameters if not parameter.endswith("=")}
            given = {*names[: len(args)], *kwargs}
            if parameters == ["*"] or (len(args) <= len(names) and set(kwargs) <= set(names) and needed <= given):
                return
        raise TypeError(f"tensorrt {self.__version__}: {name} takes {self._signatures[name]}, not {args} {kwargs}")


class _Class:
    def __init__(self, module: FakeTensorRt, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._module.check_call(f"{self._name}.__init__", args, kwargs)
        return FakeObject(self._module, self._name)

    def __getattr__(self, name: str) -> Any:
        if name not in self._module._members[self._name]:
            raise AttributeError(f"tensorrt {self._module.__version__}: {self._name} has no {name}")
        return f"{self._name}.{name}"


class FakeObject:
    """An object of a documented class."""

    def __init__(self, module: FakeTensorRt, kind: str) -> None:
        self.__dict__.update(_module=module, _kind=kind, _set={})

    def __setattr__(self, name: str, value: Any) -> None:
        self._check(name)
        self._set[name] = value

    def __getattr__(self, name: str) -> Any:
        self._check(name)
        if f"{self._kind}.{name}" not in self._module._signatures:
            return self._set.get(name, BEHAVIOR.get(f"{self._kind}.{name}", 0))

        def call(*args: Any, **kwargs: Any) -> Any:
            full = f"{self._kind}.{name}"
            self._module.check_call(full, args, kwargs)
            answer = BEHAVIOR.get(full)
            if answer is not None:
                return answer(self, *args)
            kind = self._module._returns[full]
            return FakeObject(self._module, kind) if kind in self._module._members else True

        return call

    def __bytes__(self) -> bytes:
        return b"plan"

    def _check(self, name: str) -> None:
        if name not in self._module._members[self._kind]:
            raise AttributeError(f"tensorrt {self._module.__version__}: {self._kind} has no {name}")


MEMORY: dict[int, np.ndarray] = {}
"""The fake GPU's memory, by address."""
_ADDRESSES: dict[str, int] = {}
_SHAPES: dict[str, Any] = {}


def _names(engine: FakeObject) -> list[str]:
    return ["image", *engine._module.outputs(np.zeros((1, 2, 2, 3), np.uint8))]


def _execute(context: FakeObject, stream: int) -> bool:
    image = MEMORY[_ADDRESSES["image"]].reshape(_SHAPES["image"])
    for name, value in context._module.outputs(image).items():
        MEMORY[_ADDRESSES[name]] = value
    return True


BEHAVIOR: dict[str, Any] = {
    "OnnxParser.num_errors": 0,
    "ICudaEngine.num_io_tensors": 3,
    "ICudaEngine.get_tensor_name": lambda engine, index: _names(engine)[index],
    "ICudaEngine.get_tensor_mode": lambda engine, name: getattr(
        engine._module.TensorIOMode, "INPUT" if name == "image" else "OUTPUT"
    ),
    "ICudaEngine.get_tensor_dtype": lambda engine, name: engine._module.DataType.FLOAT,
    "ICudaEngine.get_tensor_profile_shape": lambda engine, name, index: [(1, 8, 8, 3), (2, 8, 8, 3), (4, 64, 64, 3)],
    "Runtime.deserialize_cuda_engine": lambda runtime, data: (
        FakeObject(runtime._module, "ICudaEngine") if data == b"plan" else None
    ),
    "IExecutionContext.set_input_shape": lambda context, name, shape: _SHAPES.update({name: shape}) or True,
    "IExecutionContext.infer_shapes": lambda context: [],
    "IExecutionContext.set_tensor_address": lambda context, name, memory: _ADDRESSES.update({name: memory}) or True,
    "IExecutionContext.get_tensor_shape": lambda context, name: _SHAPES["image"][:3],
    "IExecutionContext.execute_async_v3": _execute,
}


class FakeCuda:
    """The driver's calls, on host memory."""

    stream = 7

    def __init__(self, gpu: str = "Fake GPU") -> None:
        self._gpu = gpu

    def enter(self) -> None: ...

    def describe(self) -> dict[str, str]:
        return {"gpu": self._gpu, "compute_capability": "9.0", "driver_cuda": "13000"}

    def allocate(self, num_bytes: int) -> int:
        address = 1000 + len(MEMORY)
        MEMORY[address] = np.zeros(num_bytes, np.uint8)
        return address

    def free(self, pointer: int) -> None:
        MEMORY[pointer] = np.zeros(0)

    def upload(self, pointer: int, array: np.ndarray) -> None:
        MEMORY[pointer] = array.copy()

    def download(self, array: np.ndarray, pointer: int) -> None:
        array[...] = MEMORY[pointer].reshape(array.shape)

    def synchronize(self) -> None: ...
