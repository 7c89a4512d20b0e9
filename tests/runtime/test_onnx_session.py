"""Bounds of ONNX Runtime sessions: memory, time and loops; ordinary graphs are not affected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from distill.errors import DistillError
from distill.runtime import onnx_session
from distill.runtime.cpu import usable_memory
from distill.runtime.onnx_session import open_session
from tests.builders.graphs import BOOL, large, loop, model

HUGE = np.array([60_000, 60_000])
LARGE = {
    "ConstantOfShape": large([helper.make_node("ConstantOfShape", ["shape"], ["big"])], shape=HUGE),
    "Expand": large([helper.make_node("Expand", ["x", "shape"], ["big"])], shape=HUGE),
    "Expand of a constant": large([helper.make_node("Expand", ["one", "shape"], ["big"])], shape=HUGE, one=np.ones(1)),
    "Range": large(
        [helper.make_node("Range", ["zero", "end", "one"], ["big"])],
        zero=np.array(0.0), end=np.array(3.6e9), one=np.array(1.0),
    ),
    "Pad": large([helper.make_node("Pad", ["x", "pads"], ["big"])], pads=np.array([0, HUGE.prod()])),
    "Resize": large(
        [helper.make_node("Resize", ["x", "", "scales"], ["big"], mode="nearest")], scales=np.array([3.6e9])
    ),
    "product": large(
        [
            helper.make_node("ConstantOfShape", ["column"], ["a"]),
            helper.make_node("ConstantOfShape", ["row"], ["b"]),
            helper.make_node("MatMul", ["a", "b"], ["big"]),
        ],
        column=np.array([60_000, 1]), row=np.array([1, 60_000]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_graph_cannot_fill_the_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = usable_memory() * onnx_session._MEMORY_FRACTION
    if limit > 14e9:
        pytest.skip("the memory of this machine is larger than the tensor")
    session = open_session(LARGE[name], why="test")
    with pytest.raises(DistillError, match=r"needs more than .* GiB of memory"):
        session.run(None, {"x": np.ones(1, np.float32)})


def test_an_ordinary_graph_runs_after_one_that_was_stopped() -> None:
    session = open_session(model([helper.make_node("Add", ["x", "x"], ["y"])], {}), why="test")
    assert session.run(None, {"x": np.ones(3, np.float32)})[0].tolist() == [2, 2, 2]


ENDLESS = {
    "constant number": loop("trips", trips=np.array(2**62)),
    "no number, same condition": loop(""),
    "no number, constant condition": loop(
        "", [helper.make_node("Constant", [], ["on"], value=helper.make_tensor("t", BOOL, [], [True]))]
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_loops_are_refused_before_they_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(ENDLESS[name])
    with pytest.raises(DistillError, match="has a loop"):
        open_session(path, why="test", allow_loops=True)


@pytest.mark.parametrize("trips", [0, 7, 1000])
def test_loops_are_for_models_of_others_alone(trips: int, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(loop("trips", trips=np.array(trips)))
    with pytest.raises(DistillError, match=r"a\.onnx: its graph has a loop \(Loop\), which no exported student has"):
        open_session(path, why="test")
    session = open_session(path, why="test", allow_loops=True)
    assert session.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_a_loop_in_a_branch_or_a_function_is_found(tmp_path: Path) -> None:
    inner = onnx.load_from_string(ENDLESS["constant number"]).graph
    del inner.input[:]
    branch = helper.make_node("If", ["true"], ["y"], then_branch=inner, else_branch=inner)
    path = tmp_path / "a.onnx"
    path.write_bytes(model([branch], {"true": np.array(True)}))
    with pytest.raises(DistillError, match="more than 1000000 rounds"):
        open_session(path, why="test", allow_loops=True)


def test_a_call_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session, "MAX_CALL_S", 0.05)
    monkeypatch.setattr(onnx_session, "_POLL_S", 0.01)
    monkeypatch.setattr(onnx_session, "_WATCH", onnx_session._Watch())
    path = tmp_path / "a.onnx"
    path.write_bytes(loop("many", factor=np.array(2**61)))  # the number of rounds depends on the input
    session = open_session(path, why="test", allow_loops=True)
    for _ in range(2):  # the second call is refused at once
        with pytest.raises(DistillError, match="computes for more than"):
            session.run(None, {"x": np.ones(2, np.float32)})


def test_damaged_and_empty_files_are_left_to_the_session(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("words", b"Loop"), ("cut", ENDLESS["constant number"][:-9])):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            open_session(path, why="test")
