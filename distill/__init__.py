"""Turn a generalist image generator into fast specialists that you own.

    distill.label("photos/", teacher="nano_banana", out="shards")     # prompt a teacher, write label shards
    distill.train(shards="shards", out="runs/nano")                   # train a small student
    distill.evaluate(["runs/nano"], "truth-shards")                   # score it against ground truth
    distill.export("runs/nano", to=["onnx", "openvino"])              # export it for inference engines
    distill.bench(["runs/nano/export/nano.onnx"])                     # time it
    distill.predict("runs/nano/export/nano.onnx", "photos/")          # write maps and overlays
    distill.review("shards", out="review.html")                       # judge the labels on a page
    distill.data.verify("shards")                                     # read every byte of a set of shards
    distill.load("runs/nano/export/nano.onnx")("photo.jpg").depth     # predict as arrays

Each function returns a typed result with ``to_dict()`` and ``to_text()`` and raises `distill.errors.DistillError`. It
prints only through the `reporter` that it is given: ``distill.console.Console()`` prints to the terminal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.workflows import data
    from distill.workflows.bench.run import bench
    from distill.workflows.evaluate.run import evaluate
    from distill.workflows.export.run import export
    from distill.workflows.label.run import label
    from distill.workflows.open_model import load
    from distill.workflows.predict.run import predict
    from distill.workflows.review.run import review
    from distill.workflows.train.run import train
    from distill.workflows.tune.run import tune

__version__ = "0.1.0"
__all__ = ["bench", "data", "evaluate", "export", "label", "load", "predict", "review", "train", "tune"]

_MODULES = {
    "bench": "distill.workflows.bench.run",
    "data": "distill.workflows.data",
    "evaluate": "distill.workflows.evaluate.run",
    "export": "distill.export",
    "label": "distill.workflows.label.run",
    "load": "distill.workflows.open_model",
    "predict": "distill.workflows.predict.run",
    "review": "distill.workflows.review.run",
    "train": "distill.workflows.train.run",
    "tune": "distill.workflows.tune.run",
}


def __getattr__(name: str) -> Any:
    """Import a function of the API on first use, so that ``import distill`` stays instant."""
    if name not in _MODULES:
        raise AttributeError(f"module 'distill' has no attribute {name!r}")
    module = import_module(_MODULES[name])
    # The package `distill.export` can be called, and `distill.data` has one function for each sub-command.
    return module if name in ("export", "data") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
