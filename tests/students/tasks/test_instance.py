"""Instances and things referred to: from labels in shards to final values out of an exported graph."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.config import load_config
from distill.config.loss import InstanceLossConfig
from distill.config.train import StudentConfig
from distill.errors import UsageError
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import open_runner
from distill.images import encode_jpeg
from distill.labels import Label, encode, write_meta
from distill.labels.instance_layers import sort_layers, stack_masks
from distill.shards import Manifest, Sample, write_manifest, write_shard
from distill.students.checkpoint import load_student
from distill.students.data.batch_targets import decode_batch
from distill.students.data.dataset import ShardDataset
from distill.students.data.dataset_index import read_index
from distill.students.model.student import build_spec, build_student
from distill.students.tasks.base import PostprocessContext, student_task
from distill.students.tasks.instance import InstanceHead, instance_loss, instance_targets, match_instances
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task
from distill.workflows.evaluate.run import EvalOptions, run_evaluate
from tests.builders.students import train

SIZE_HW = (48, 64)
CLASSES = ("background", "ball", "box")


def things(folder: Path, count: int = 24) -> Path:
    """Bright blocks on black: two instances of two classes, one pixel row ignored; the same as things referred to."""
    folder.mkdir(parents=True)
    samples = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        ids = np.zeros(SIZE_HW, np.uint16)
        for number, left in ((5, 4), (900, 36)):
            top, side = rng.integers(4, 20), rng.integers(12, 20)
            ids[top : top + side, left : left + side] = number
        photo = np.where(ids == 5, 250, np.where(ids == 900, 120, 10)).astype(np.uint8)[..., None].repeat(3, -1)
        valid = np.ones(SIZE_HW, bool)
        valid[0] = False
        sure = valid.astype(np.float32)
        names = {5: "ball", 900: "box"}
        referred = np.where(ids == 5, 2, np.where(ids == 900, 0, 1)).astype(np.uint8)  # its own order
        files = {"jpg": encode_jpeg(photo)}
        label = Label(Task.INSTANCE, ids, valid, sure, instance_classes=names)
        files |= encode(label)
        files |= encode(Label(Task.REFERRING, referred, valid, sure, classes=("box", "background", "ball")))
        meta = {"photo_sha256": hashlib.sha256(files["jpg"]).hexdigest()} | write_meta(label)
        meta["referring"] = ["box", "background", "ball"]
        samples.append(Sample(f"t{seed:03d}", {**files, "json": json.dumps(meta).encode()}))
    entry = write_shard(folder / "shard-000000.tar", samples)
    manifest = Manifest(
        tasks=(Task.INSTANCE, Task.REFERRING),
        shards=(entry,),
        instance_classes=("ball", "box"),
        referring=("background", "ball", "box"),
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return things(tmp_path_factory.mktemp("things") / "shards")


def test_classes_come_from_instances_or_referring_phrases(shards: Path) -> None:
    for task, wanted in ((Task.INSTANCE, (Task.SEMANTIC, Task.INSTANCE)), (Task.REFERRING, (Task.SEMANTIC,))):
        index = read_index([shards], [task])
        assert index.tasks == wanted and index.classes == CLASSES
        stored = ShardDataset(index.entries, index.tasks, SIZE_HW).__getitems__([3])
        photo = stored["image"][0, :, :, 0].numpy()
        inside = np.s_[2:, :]
        assert set(stored["semantic"][0].numpy()[inside][photo[inside] > 230]) == {1}
        assert (
            set(stored["semantic"][0].numpy()[0]) == {IGNORE_SEMANTIC} and not stored["semantic_confidence"][0, 0].any()
        )
    assert set(
        np.unique(ShardDataset(read_index([shards], [Task.INSTANCE]).entries, (Task.INSTANCE,), SIZE_HW)[0]["instance"])
    ) == {
        0,
        5,
        900,
        IGNORE_INSTANCE,
    }
    assert read_index([shards]).tasks == (Task.SEMANTIC, Task.INSTANCE)
    with pytest.raises(UsageError, match="cannot be learned together"):
        read_index([shards], [Task.INSTANCE, Task.REFERRING])


def test_slivers_are_not_learned_as_instances(tmp_path: Path) -> None:
    """A jacket hides nine tenths of a person, a ball a quarter of a box; another ball is hidden completely."""
    person, box = np.zeros(SIZE_HW, bool), np.zeros(SIZE_HW, bool)
    person[4:24, 4:24], box[28:44, 30:62] = True, True
    jacket, ball, hidden = person.copy(), box.copy(), box.copy()
    jacket[4:6], ball[:, 38:], hidden[:, 38:] = False, False, False
    masks = enumerate((person, jacket, box, ball, hidden), start=1)
    front, *behind = sort_layers(stack_masks(masks, SIZE_HW))
    names = {1: "person", 2: "jacket", 3: "box", 4: "ball", 5: "ball"}
    valid = np.ones(SIZE_HW, bool)
    label = Label(Task.INSTANCE, front, valid, valid.astype(np.float32), instance_classes=names, layers=tuple(behind))
    files = {"jpg": encode_jpeg(np.zeros((*SIZE_HW, 3), np.uint8))} | encode(label)
    meta = {"photo_sha256": "0" * 64, "records": []} | write_meta(label)
    entry = write_shard(tmp_path / "shard-000000.tar", [Sample("one", {**files, "json": json.dumps(meta).encode()})])
    classes = ("person", "jacket", "box", "ball")
    write_manifest(tmp_path, Manifest(tasks=(Task.INSTANCE,), shards=(entry,), instance_classes=classes))
    index = read_index([tmp_path], [Task.INSTANCE])
    stored = ShardDataset(index.entries, index.tasks, SIZE_HW)[0]
    ids, sure = stored["instance"].numpy(), stored["instance_confidence"].numpy()
    assert set(np.unique(ids)) == {0, 2, 3, 4, IGNORE_INSTANCE}
    sliver = person & ~jacket
    assert (ids[sliver] == IGNORE_INSTANCE).all() and not sure[sliver].any() and sure[~sliver].all()
    # As a class it is still known, and so is what is seen of the box.
    assert (stored["semantic"].numpy()[sliver] == 1).all() and (ids[box & ~ball] == 3).all()


def test_ids_without_a_name_are_no_background() -> None:
    stored = np.array([[0, 7, 8, IGNORE_INSTANCE]], np.uint16)
    classes = student_task(Task.SEMANTIC).from_source(stored, Task.INSTANCE, {7: 1})
    assert classes.tolist() == [[0, 1, IGNORE_SEMANTIC, IGNORE_SEMANTIC]]


def test_targets_point_at_the_middle(shards: Path) -> None:
    index = read_index([shards], [Task.INSTANCE])
    batch = decode_batch(
        ShardDataset(index.entries, index.tasks, SIZE_HW).__getitems__([0, 1]), index.tasks, DepthKind.METRIC
    )
    heat, way, on_thing = instance_targets(batch.targets[Task.INSTANCE], batch.weights[Task.INSTANCE])
    for one in range(2):
        for number in (5, 900):
            rows, columns = torch.nonzero(batch.targets[Task.INSTANCE][one] == number, as_tuple=True)
            down, right = (rows.float().mean() + 0.5) / 48, (columns.float().mean() + 0.5) / 64
            place = (rows[0], columns[0])
            assert float((rows[0] + 0.5) / 48 + way[one, 0][place]) == pytest.approx(float(down), abs=1e-5)
            assert float((columns[0] + 0.5) / 64 + way[one, 1][place]) == pytest.approx(float(right), abs=1e-5)
            assert heat[one, int(down * 48), int(right * 64)] > 0.8
        assert torch.equal(on_thing[one] > 0, batch.targets[Task.INSTANCE][one] != 0)
    terms = instance_loss(heat, way, batch.targets[Task.INSTANCE], batch.weights[Task.INSTANCE], InstanceLossConfig())
    assert all(float(term) < 1e-9 for term in terms.values())


def test_true_centers_and_ways_group_into_the_true_instances(shards: Path) -> None:
    index = read_index([shards], [Task.INSTANCE])
    batch = decode_batch(
        ShardDataset(index.entries, index.tasks, SIZE_HW).__getitems__([2]), index.tasks, DepthKind.METRIC
    )
    heat, way, _ = instance_targets(batch.targets[Task.INSTANCE], batch.weights[Task.INSTANCE])
    head = InstanceHead(8, 8, [1, 2], 64)
    raw = torch.cat([(heat.clamp(1e-4, 1 - 1e-4).logit() + 3)[:, None], way.atanh()], dim=1)
    classes = {
        "semantic": batch.targets[Task.SEMANTIC].to(torch.uint8),
        "semantic_confidence": torch.full((1, *SIZE_HW), 0.5),
    }
    context = PostprocessContext(SIZE_HW, SIZE_HW, classes)
    found = head.postprocess(raw, context)
    ids = found["instance"][0]
    assert len(ids.unique()) == 3 and torch.equal(ids[1:] != 0, batch.targets[Task.INSTANCE][0, 1:] != 0)
    for number in (5, 900):
        assert len(ids[batch.targets[Task.INSTANCE][0] == number].unique()) == 1
    assert found["instance_confidence"][0][ids == 0].unique().tolist() == [0.5]
    cold = head.postprocess(torch.full_like(raw, -9.0), context)
    assert cold["instance"].max() == 0


@pytest.mark.slow
def test_a_student_learns_instances_and_leaves_as_onnx(shards: Path, tmp_path: Path) -> None:
    settings = (
        "tasks=[instance]",
        "student.size_hw=[64,96]",
        "student.head_stride=2",
        "train.epochs=60",
        "train.num_validations=2",
        "data.batch_size=4",
        "augment.zoom=1",
        "optim.ema_decay=0.9",
    )
    result = train(shards, tmp_path / "run", *settings)
    assert result.history[-1]["train_instance_offset"] < 0.7 * result.history[0]["train_instance_offset"]
    student, spec = load_student(tmp_path / "run")
    assert spec.tasks == (Task.SEMANTIC, Task.INSTANCE) and spec.dense_tasks == (Task.SEMANTIC,)
    assert spec.output_names == ("semantic", "semantic_confidence", "instance", "instance_confidence")
    path = export_onnx(student, spec, tmp_path / "things.onnx").path
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    with open_runner(path) as engine, torch.inference_mode():
        found, wanted = engine(images), student(torch.from_numpy(images))
    assert found["instance"].dtype == np.uint8 and found["instance"].shape == (3, 40, 50)
    assert (found["instance"] == wanted["instance"].numpy()).mean() > 0.98
    scores = run_evaluate(EvalOptions(predictors=[path], truth=shards)).to_dict()["tasks"]
    assert scores["instance"]["scores"]["things.onnx"]["pmf1"] > 0.5
    assert scores["referring"]["scores"]["things.onnx"]["ciou"] > 0.7  # its classes have the same names


def test_a_student_of_things_referred_to_is_a_student_of_classes(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, "tasks=[referring]", "train.epochs=1")
    assert load_student(tmp_path)[1].semantic.classes == CLASSES


def test_instances_need_their_classes() -> None:
    config = load_config(StudentConfig, {"size_hw": [64, 64]})
    with pytest.raises(UsageError, match="needs their classes among the semantic ones"):
        build_spec(config, name="x", tasks=(Task.SEMANTIC, Task.INSTANCE), classes=("a",), things=("b",))
    spec = build_spec(config, name="x", tasks=(Task.SEMANTIC, Task.INSTANCE), classes=("a", "b"), things=("b",))
    outputs = build_student(config, spec).eval()(torch.zeros(1, 20, 30, 3, dtype=torch.uint8))
    assert tuple(outputs) == spec.output_names


@pytest.mark.parametrize(
    ("predicted", "truth", "wanted"),
    [
        ([1, 1, 0, 2, 2], [7, 7, 0, 9, 9], (4, 4)),
        ([1, 1, 0, 0, 0], [7, 7, 0, 9, 9], (2, 3)),
        ([1, 1, 1, 1, 0], [7, 7, 9, 9, 0], (0, 3)),  # half is not more than half
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], (0, 0)),
        ([3, 0, 0, 0, 0], [0, 0, 0, 0, 0], (0, 1)),
        ([], [], (0, 0)),
    ],
)
def test_instances_match_by_more_than_half(predicted: list[int], truth: list[int], wanted: tuple[int, int]) -> None:
    found = match_instances(torch.tensor(predicted, dtype=torch.long), torch.tensor(truth, dtype=torch.long))
    assert found.tolist() == list(wanted)
