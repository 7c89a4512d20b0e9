"""Training of low-rank weights on tiny random pipelines: what changes, what is learned, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers", reason="needs diffusers: pip install distill[local]")

from distill.config import load_config
from distill.config.local import DiffusersConfig
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.runtime.progress import SilentReporter
from distill.tasks import Task
from distill.teachers.local.pipelines import open_pipeline
from distill.teachers.registration.canvas import Grid
from distill.teachers.tuning.config import TuningConfig
from distill.teachers.tuning.families import FAMILIES, find_family
from distill.teachers.tuning.pairs import gather
from distill.teachers.tuning.trainer import ADAPTER, LOSSES, WEIGHTS, Tuner
from distill.teachers.tuning.validation import Validation
from tests.builders.label_sets import photo, sample, write_set
from tests.fakes import tiny_models as tiny

GRID = Grid(64, 64 * 64)
MAKERS: dict[str, Callable[[Path], Path]] = {
    "Flux2KleinPipeline": tiny.flux2_klein,
    "StableDiffusionInstructPix2PixPipeline": tiny.instruct_pix2pix,
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp("pipelines") / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    samples = [sample(photo(i), [Task.DEPTH, Task.SEMANTIC], seed=i) for i in range(6)]
    return write_set(tmp_path_factory.mktemp("shards") / "set", samples)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower with more, and on a busy machine much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tuner(pipelines: dict[str, Path], kind: str, shards: ShardSet, out: Path, **keys: Any) -> Tuner:
    values = {"teacher": "x", "steps": 4, "batch_size": 1, "rank": 4, "warmup_steps": 0, "validate_every": 100}
    config = TuningConfig.model_validate(values | keys)
    teacher = load_config(DiffusersConfig, {"model": str(pipelines[kind]), "device": "cpu", **tiny.KLEIN})
    opened = open_pipeline(teacher, str(pipelines[kind]), Path())
    data = gather([shards], config.tasks, validation_photos=1, grid=GRID, seed=config.seed)
    out.mkdir(exist_ok=True)
    return Tuner(config, opened, FAMILIES[kind], data, dict(teacher.pipeline_kwargs), out)


def untested() -> Validation:
    return Validation(score=0.5, prompted={"depth": 1}, accepted={"depth": 1})


@pytest.mark.parametrize("kind", list(MAKERS))
def test_only_the_adapter_changes_and_the_saved_one_answers_alike(
    pipelines: dict[str, Path], kind: str, shards: ShardSet, tmp_path: Path
) -> None:
    one = tuner(pipelines, kind, shards, tmp_path / "run", learning_rate=1e-2)
    before = {name: value.clone() for name, value in one.pipe.components[one.family.network].state_dict().items()}
    others = {
        f"{part}.{name}": value.clone()
        for part in ("vae", "text_encoder")
        for name, value in one.pipe.components[part].state_dict().items()
    }
    one.run(untested, "digest", SilentReporter())
    changed = {name for name, value in one.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all("lora_" in name for name in changed)
    for name, value in others.items():
        part, _, rest = name.partition(".")
        assert torch.equal(one.pipe.components[part].state_dict()[rest], value)

    plain = open_pipeline(
        load_config(DiffusersConfig, {"model": str(pipelines[kind]), "device": "cpu"}), str(pipelines[kind]), Path()
    ).pipe
    plain.load_lora_weights(str(tmp_path / "run" / ADAPTER), weight_name=WEIGHTS, adapter_name="saved")
    pair, seeds = one.data.pair(0), [torch.Generator().manual_seed(7) for _ in range(3)]
    losses = []
    one.network.eval()
    for pipe, seed in zip((one.pipe, plain), seeds, strict=False):
        one.pipe = pipe
        one._prompt.cache_clear()
        with torch.no_grad():
            losses.append(float(one._loss(pair, seed)))
    plain.fuse_lora(adapter_names=["saved"])
    plain.unload_lora_weights()
    with torch.no_grad():
        losses.append(float(one._loss(pair, seeds[2])))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and losses[2] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("kind", list(MAKERS))
def test_the_loss_of_a_pair_falls(pipelines: dict[str, Path], kind: str, shards: ShardSet, tmp_path: Path) -> None:
    one = tuner(pipelines, kind, shards, tmp_path / "run", steps=12, learning_rate=5e-2, rank=16)

    def loss() -> float:
        one.network.eval()
        with torch.no_grad():
            rngs = (torch.Generator().manual_seed(seed) for seed in range(6))
            return sum(float(one._loss(one.data.pair(number), rng)) for number, rng in enumerate(rngs)) / 6

    before = loss()
    one.run(untested, "digest", SilentReporter())
    assert loss() < 0.995 * before


class _Killed(Exception):
    """Stands for the end of the process."""


class _KillAt(SilentReporter):
    """Ends the training after some steps, between two of its writes."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def progress(self, title: str, total: int | None) -> Any:
        reporter = self

        class Progress:
            def __enter__(self) -> Progress:
                return self

            def __exit__(self, *error: object) -> None: ...

            def advance(self, count: int = 1, note: str = "") -> None:
                if note:
                    reporter.left -= 1
                    if reporter.left < 0:
                        raise _Killed

        return Progress()


def test_killed_runs_end_with_the_same_bits(pipelines: dict[str, Path], shards: ShardSet, tmp_path: Path) -> None:
    keys = {"steps": 7, "checkpoint_every": 2, "validate_every": 3, "learning_rate": 1e-2}
    kind = "StableDiffusionInstructPix2PixPipeline"
    tuner(pipelines, kind, shards, tmp_path / "whole", **keys).run(untested, "d", SilentReporter())
    for steps in (0, 1, 3, 2):
        try:
            tuner(pipelines, kind, shards, tmp_path / "killed", **keys).run(untested, "d", _KillAt(steps))
        except _Killed:
            continue
    tuner(pipelines, kind, shards, tmp_path / "killed", **keys).run(untested, "d", SilentReporter())
    for name in (f"{ADAPTER}/{WEIGHTS}", LOSSES):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_faults(pipelines: dict[str, Path], shards: ShardSet, tmp_path: Path) -> None:
    kind = "StableDiffusionInstructPix2PixPipeline"
    with pytest.raises(UsageError, match="no layer of the unet has a name that ends with nothing"):
        tuner(pipelines, kind, shards, tmp_path / "a", modules=["nothing"])
    with pytest.raises(DistillError, match="the loss of step 2 is not a number"):
        tuner(pipelines, kind, shards, tmp_path / "b", learning_rate=1e30, max_grad_norm=1e9).run(
            untested, "d", SilentReporter()
        )
    one = tuner(pipelines, kind, shards, tmp_path / "c", steps=1)
    one.run(untested, "d", SilentReporter())
    with pytest.raises(UsageError, match="another config or of other data"):
        tuner(pipelines, kind, shards, tmp_path / "c", steps=2).run(untested, "other", SilentReporter())
    (tmp_path / "c" / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="cannot be read"):
        tuner(pipelines, kind, shards, tmp_path / "c", steps=2).run(untested, "d", SilentReporter())
    with pytest.raises(UsageError, match="cannot be tuned"):
        find_family("MarigoldDepthPipeline", "x.yaml")
