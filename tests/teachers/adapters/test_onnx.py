"""ONNX models of others as teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from distill.config import load_config
from distill.config.adapters import OnnxConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import Task
from distill.teachers.adapters.onnx import OnnxSpecialist

SIZE_HW = (12, 16)


def save_model(path: Path, weight: np.ndarray, *, nhwc: bool = False) -> Path:
    """A 1x1 convolution over the channels: what comes out is known."""
    outputs = weight.shape[0]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    shape = [1, 3, 8, 8]
    if nhwc:
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]))
        shape = [1, 8, 8, 3]
    inputs = [helper.make_tensor_value_info("image" if nhwc else "x", TensorProto.FLOAT, shape)]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs, 8, 8])]
    initial = [numpy_helper.from_array(weight.reshape(outputs, 3, 1, 1).astype(np.float32), "w")]
    graph = helper.make_graph(nodes, "net", inputs, result, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def gray(level: int) -> Photo:
    data = np.full((*SIZE_HW, 3), level, np.uint8)
    return Photo("k", "k.png", b"", "png", data, "", {})


@pytest.mark.parametrize("nhwc", [False, True])
def test_probabilities_of_merged_classes_are_added(tmp_path: Path, nhwc: bool) -> None:
    # Logits 1, 0.9, 0.9 for a white pixel: alone the first class wins, merged the other two do.
    model = save_model(tmp_path / "m.onnx", np.array([[1, 0, 0], [0.9, 0, 0], [0.9, 0, 0]]), nhwc=nhwc)
    output = {
        "task": "semantic",
        "model_classes": ["road", "car", "truck"],
        "classes": ["road", "vehicle"],
        "remap": {"car": "vehicle", "truck": "vehicle"},
    }
    layout = "NHWC" if nhwc else "NCHW"
    config = load_config(OnnxConfig, {"model": str(model), "input": {"layout": layout}, "outputs": [output]})
    label = OnnxSpecialist(config, tmp_path).predict(gray(255))[0]
    logits = np.exp([1, 0.9, 0.9])
    assert (label.value == 1).all()
    assert np.allclose(label.confidence, logits[1:].sum() / logits.sum(), atol=1e-5)


def test_mean_std_and_scale_are_applied(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.onnx", np.array([[1, 0, 0]]))
    config = load_config(
        OnnxConfig,
        {
            "model": str(model),
            "input": {"mean": [0.5, 0, 0], "std": [0.25, 1, 1]},
            "outputs": [{"task": "depth", "depth_kind": "metric"}],
        },
    )
    label = OnnxSpecialist(config, tmp_path).predict(gray(255))[0]
    assert np.allclose(label.value, 2.0)


def test_models_are_found_by_config_folder_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "m.onnx", np.ones((1, 3)))
    config = load_config(OnnxConfig, {"model": "m.onnx", "outputs": [{"task": "depth", "depth_kind": "metric"}]})
    OnnxSpecialist(config, tmp_path)
    with pytest.raises(UsageError, match="no such model"):
        OnnxSpecialist(config, tmp_path / "elsewhere")
    monkeypatch.setenv("DISTILL_MODELS", str(tmp_path))
    OnnxSpecialist(config, tmp_path / "elsewhere")


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x07" * 100])
def test_a_damaged_model_is_a_usage_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    config = load_config(OnnxConfig, {"model": "m.onnx", "outputs": [{"task": "depth"}]})
    with pytest.raises(UsageError, match="not a model"):
        OnnxSpecialist(config, tmp_path).predict(gray(0))


def test_a_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.onnx", np.ones((4, 3)))
    config = load_config(OnnxConfig, {"model": str(model), "outputs": [{"task": "semantic", "classes": ["a", "b"]}]})
    with pytest.raises(DistillError, match="4 channels instead of 2"):
        OnnxSpecialist(config, tmp_path).predict(gray(0))


def test_tasks_have_the_order_of_the_config(tmp_path: Path) -> None:
    weight = np.vstack([np.eye(3), np.eye(3)])
    model = save_model(tmp_path / "m.onnx", weight)
    config = load_config(
        OnnxConfig, {"model": str(model), "outputs": [{"task": "semantic", "classes": list("abcdef")}]}
    )
    label = OnnxSpecialist(config, tmp_path).predict(gray(10))[0]
    assert label.task is Task.SEMANTIC and label.size_hw == (8, 8)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT16])
def test_the_input_has_the_type_of_the_model(tmp_path: Path, kind: int) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[1], keepdims=1),
    ]
    tensors = [
        helper.make_tensor_value_info("x", kind, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 8, 8]),
    ]
    graph = helper.make_graph(nodes, "mean", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    values = {"model": str(tmp_path / "m.onnx"), "input": {"scale": 1.0}, "outputs": [{"task": "depth"}]}
    label = OnnxSpecialist(load_config(OnnxConfig, values), tmp_path).predict(gray(50))[0]
    assert np.allclose(label.value, 50)


def test_photos_in_parallel_give_the_same_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.shards import file_sha256
    from distill.teachers.labeling.job import Job
    from distill.teachers.labeling.label_shard import label_shard

    model = save_model(tmp_path / "m.onnx", np.random.default_rng(0).normal(size=(5, 3)))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    (folder / "3.png").write_bytes(b"broken")
    config = load_config(OnnxConfig, {"model": str(model), "outputs": [{"task": "semantic", "classes": list("abcde")}]})
    digests = []
    for count in (1, 4):
        monkeypatch.setattr(OnnxSpecialist, "max_parallel", count)
        job = Job(out=tmp_path / f"out{count}", config=config, folder=tmp_path, inputs=(str(folder),), previews=0)
        stats = label_shard(job, 0)
        assert stats.photos == 7 and stats.labeled == 6 and [row["name"] for row in stats.failures] == ["3.png"]
        digests.append(file_sha256(job.out / "shard-000000.tar"))
    assert digests[0] == digests[1]


def test_channels_are_normalized_one_by_one_in_either_order(tmp_path: Path) -> None:
    """R, G and B have values of their own, and come out where the config wants them."""
    model = save_model(tmp_path / "m.onnx", np.eye(3))
    pixels = np.zeros((*SIZE_HW, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    photo = Photo("k", "k.png", b"", "png", pixels, "", {})
    for color, expected in (("RGB", [10, 20, 30]), ("BGR", [30, 20, 10])):
        config = load_config(
            OnnxConfig,
            {
                "model": str(model),
                "input": {"color": color, "scale": 1.0, "mean": [1, 2, 3], "std": [2, 4, 5]},
                "outputs": [{"task": "depth"}],
            },
        )
        made = OnnxSpecialist(config, tmp_path)
        tensor = made._prepare(photo.rgb, made._open())
        stats = dict(zip([10, 20, 30], zip([1, 2, 3], [2, 4, 5], strict=True), strict=True))
        assert tensor[0, :, 0, 0] == pytest.approx([(v - stats[v][0]) / stats[v][1] for v in expected])


def save_reshaped(path: Path, shape: list[int], kind: int = TensorProto.FLOAT) -> Path:
    """A model whose output has this shape and type, and the values 0, 1, 0, 1, ..."""
    values = (np.arange(np.prod(shape)) % 2).reshape(shape)
    nodes = [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(values.astype(np.float32)))]
    nodes += [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Sub", ["m", "m"], ["zero"])]
    nodes += [helper.make_node("Add", ["c", "zero"], ["f"]), helper.make_node("Cast", ["f"], ["y"], to=kind)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    graph = helper.make_graph(nodes, "net", inputs, [helper.make_tensor_value_info("y", kind, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def predict_shape(folder: Path, shape: list[int], kind: int = TensorProto.FLOAT, **output: object) -> Label:
    model = save_reshaped(folder / "m.onnx", shape, kind)
    values = {"model": str(model), "outputs": [{"task": "semantic", "classes": ["a", "b"], **output}]}
    return OnnxSpecialist(load_config(OnnxConfig, values), folder).predict(gray(1))[0]


@pytest.mark.parametrize("shape", [[8, 8], [1, 8, 8], [1, 1, 8, 8]])
@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.BOOL])
def test_ids_of_any_type_and_shape(tmp_path: Path, shape: list[int], kind: int) -> None:
    label = predict_shape(tmp_path, shape, kind, values="ids")
    assert (label.value == np.arange(64).reshape(8, 8) % 2).all()


def test_channels_may_be_last(tmp_path: Path) -> None:
    for shape in ([1, 8, 8, 2], [8, 8, 2]):
        assert (predict_shape(tmp_path, shape, layout="NHWC", values="probabilities").value == 1).all()


@pytest.mark.parametrize(
    ("shape", "kind", "output", "words"),
    [
        ([1, 8, 8, 2], TensorProto.FLOAT, {}, "8 channels instead of 2, which are its last axis.*NHWC"),
        ([1, 1, 8, 8], TensorProto.INT64, {}, "int64 numbers are no scores.*values: ids"),
        ([1, 3, 8, 8], TensorProto.FLOAT, {}, "3 channels instead of 2"),
        ([1, 2, 8, 8], TensorProto.FLOAT, {"classes": ["a", "b", "c"]}, "2 channels instead of 3"),
        ([1, 2, 4, 8], TensorProto.FLOAT, {}, "8x4 px for an input of 8x8.*resize_mode"),
        ([1, 1, 8, 8], TensorProto.INT64, {"values": "ids", "classes": ["a"]}, r"id 1 \(50"),
        ([2, 2, 8, 8], TensorProto.FLOAT, {}, r"shape \(2, 2, 8, 8\)"),
        ([1, 10], TensorProto.FLOAT, {}, "channels|shape"),
        ([1, 2, 8, 8], TensorProto.STRING, {}, "not numbers|not a model"),
    ],
)
def test_outputs_that_cannot_be_meant_are_refused(
    tmp_path: Path, shape: list[int], kind: int, output: dict[str, object], words: str
) -> None:
    with pytest.raises(DistillError, match=words):
        predict_shape(tmp_path, shape, kind, **output)
