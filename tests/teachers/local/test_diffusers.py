"""Image-edit pipelines and Marigold, on tiny random pipelines on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="needs diffusers: pip install distill[local]")

from PIL import Image

from distill.config import load_config
from distill.config.local import DiffusersConfig, MarigoldConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, decode_rgb, read_photo
from distill.shards import read_manifest, read_samples
from distill.tasks import DepthKind, Task
from distill.teachers.base import ContentRefused
from distill.teachers.factory import build_teacher
from distill.teachers.labeling.job import Job
from distill.teachers.local.devices import choose_placement, count_parameters
from distill.teachers.local.diffusers import DiffusersGenerator
from distill.teachers.local.hub import ModelUnavailable
from distill.workflows.label.run import run_label
from tests.fakes import tiny_models as tiny

PHOTO = Photo("k", "k.png", b"", "png", np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8), "", {})


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.flux2_klein(tmp_path_factory.mktemp("klein"))


def config_of(folder: Path, **more: object) -> DiffusersConfig:
    return load_config(DiffusersConfig, {"model": str(folder), **tiny.KLEIN, "prompts": {"tasks": ["depth"]}, **more})


def generator(folder: Path, **more: object) -> DiffusersGenerator:
    return DiffusersGenerator(config_of(folder, **more), str(folder), Path())


def test_images_are_repeatable_and_samples_differ(klein: Path) -> None:
    first, second = generator(klein), generator(klein)
    prompt_spec = first.prompt_specs(PHOTO)[0]
    answer = first.generate(PHOTO, prompt_spec, seed=3)
    assert second.generate(PHOTO, prompt_spec, seed=3).data == answer.data
    assert first.generate(PHOTO, prompt_spec, seed=3, sample=1).data != answer.data
    assert first.generate(PHOTO, prompt_spec, seed=4).data != answer.data


class _Recorder:
    """A fake pipeline that keeps what it was called with, since no real one shows what reaches it."""

    nsfw: list[bool] | None = None

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def __call__(
        self,
        image: Any = None,
        prompt: Any = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        generator: Any = None,
        max_area: int | None = None,
        _auto_resize: bool = True,
    ) -> SimpleNamespace:
        self.calls.append({"image": image, "prompt": prompt, "size_hw": (height, width), "auto": _auto_resize})
        return SimpleNamespace(images=[image], nsfw_content_detected=self.nsfw)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    fake = _Recorder()
    monkeypatch.setattr("distill.teachers.local.diffusers.open_pipeline", lambda *arguments: SimpleNamespace(pipe=fake))
    return fake


@pytest.mark.parametrize("size_hw", [(37, 1201), (480, 640), (3000, 2000), (64, 64), (1023, 1025)])
def test_no_photo_size_is_cropped(recorder: _Recorder, size_hw: tuple[int, int], tmp_path: Path) -> None:
    """All four corners of the photo reach the pipeline, on a canvas that it leaves as it is."""
    rgb = np.zeros((*size_hw, 3), np.uint8)
    height, width = size_hw
    band_h, band_w = max(1, height // 6), max(1, width // 6)
    rgb[:band_h, :band_w], rgb[-band_h:, :band_w] = (255, 0, 0), (0, 255, 0)
    rgb[:band_h, -band_w:], rgb[-band_h:, -band_w:] = (0, 0, 255), (255, 255, 255)
    made = DiffusersGenerator(load_config(DiffusersConfig, {"model": "a/b"}), str(tmp_path), Path())
    photo = Photo("k", "k.png", b"", "png", rgb, "", {})
    answer = made.generate(photo, made.prompt_specs(photo)[0], seed=0)
    (call,) = recorder.calls
    assert call["size_hw"] == call["image"].size[::-1]
    assert all(side % 32 == 0 for side in call["size_hw"]) and np.prod(call["size_hw"]) <= 1024 * 1024
    assert call["auto"] is False
    seen = np.asarray(call["image"]).astype(int)
    for corner, color in (
        ((0, 0), (255, 0, 0)),
        ((-1, 0), (0, 255, 0)),
        ((0, -1), (0, 0, 255)),
        ((-1, -1), (255,) * 3),
    ):
        assert np.abs(seen[corner] - color).max() < 60
    assert decode_rgb(answer.data, "a")[0].shape[:2] == call["size_hw"]


def test_blocked_image_is_a_refusal(recorder: _Recorder, tmp_path: Path) -> None:
    recorder.nsfw = [True]
    made = DiffusersGenerator(load_config(DiffusersConfig, {"model": "a/b"}), str(tmp_path), Path())
    with pytest.raises(ContentRefused):
        made.generate(PHOTO, made.prompt_specs(PHOTO)[0], seed=0)


def test_unknown_call_argument_is_an_error(klein: Path) -> None:
    made = generator(klein, true_cfg_scale=1.0)
    with pytest.raises(UsageError, match="Flux2KleinPipeline has no true_cfg_scale"):
        made.generate(PHOTO, made.prompt_specs(PHOTO)[0], seed=0)
    with pytest.raises(UsageError, match="set by other keys"):
        config_of(klein, pipeline_kwargs={"prompt": "x"})


def test_scheduler_keys(klein: Path) -> None:
    made = generator(klein, scheduler={"shift": 3.0})
    assert made._pipeline.pipe.scheduler.config.shift == 3.0
    with pytest.raises(UsageError, match="has no shfit"):
        generator(klein, scheduler={"shfit": 3.0})._pipeline  # noqa: B018


def test_loras_change_images_and_keys(klein: Path, tmp_path: Path) -> None:
    import torch
    from diffusers import Flux2KleinPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    transformer = tiny.flux2_transformer()
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    torch.manual_seed(0)
    weights = {name: torch.randn_like(value) for name, value in get_peft_model_state_dict(transformer).items()}
    Flux2KleinPipeline.save_lora_weights(tmp_path, transformer_lora_layers=weights)
    plain, tuned = generator(klein), generator(klein, loras=[{"model": str(tmp_path), "scale": 4.0}])
    prompt_spec = plain.prompt_specs(PHOTO)[0]
    assert plain.parameters(PHOTO, prompt_spec) != tuned.parameters(PHOTO, prompt_spec)
    assert plain.generate(PHOTO, prompt_spec, seed=0).data != tuned.generate(PHOTO, prompt_spec, seed=0).data
    with pytest.raises(UsageError, match="cannot be added"):
        generator(klein, loras=[{"model": str(klein)}])._pipeline  # noqa: B018


def test_transformer_can_be_replaced(klein: Path, tmp_path: Path) -> None:
    tiny.flux2_transformer(seed=9).save_pretrained(tmp_path)
    plain, tuned = generator(klein), generator(klein, transformer=str(tmp_path))
    prompt_spec = plain.prompt_specs(PHOTO)[0]
    assert plain.generate(PHOTO, prompt_spec, seed=0).data != tuned.generate(PHOTO, prompt_spec, seed=0).data


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (80 + 3 * number, 96 - 2 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_pipeline_labels_photos_and_runs_once(klein: Path, photos: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    config = config_of(klein, license="Apache-2.0")
    job = Job(out=out, config=config, folder=Path(), inputs=(str(photos),), previews=0, store=store)
    result = run_label(job, workers=1).to_dict()
    assert result["labeled"] == 8 and result["labels"] == {"depth": 8}
    manifest = read_manifest(out)
    assert manifest.depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY and manifest.licenses == ("Apache-2.0",)
    again = tmp_path / "again"
    offline = Job(out=again, config=config, folder=Path(), inputs=(str(photos),), previews=0, store=store, offline=True)
    assert run_label(offline, workers=1).labeled == 8
    maps = [{s.key: s.files["depth.png"] for s in read_samples(folder)} for folder in (out, again)]
    assert maps[0] == maps[1]


def test_prompts_use_the_names_of_the_config(tmp_path: Path) -> None:
    config = load_config(
        DiffusersConfig,
        {
            "model": "FunAILab/Open-Vision-Banana",
            "prompts": {
                "family": "open_vision_banana",
                "tasks": ["depth", "semantic", "instance"],
                "classes": {"road": [255, 0, 0], "car": [0, 0, 255]},
                "instances": ["car", "person"],
            },
        },
    )
    prompt_specs = DiffusersGenerator(config, str(tmp_path), Path()).prompt_specs(PHOTO)
    assert [prompt_spec.task for prompt_spec in prompt_specs] == [
        Task.DEPTH,
        Task.SEMANTIC,
        Task.INSTANCE,
        Task.INSTANCE,
    ]
    assert prompt_specs[0].colormap == "gray" and not prompt_specs[0].near_is_low
    assert {prompt_spec.resize_mode for prompt_spec in prompt_specs} == {"fill"}


@pytest.mark.parametrize("what", ["depth", "normals"])
def test_marigold_values_and_confidence(tmp_path: Path, what: str) -> None:
    folder = tiny.marigold(tmp_path, what=what)
    one = build_teacher(load_config(MarigoldConfig, {"model": str(folder)}), folder=Path()).label(PHOTO)[0]
    (label,) = one.labels.values()
    assert str(label.task) == what and label.valid_fraction == 1
    if what == "depth":
        assert label.depth_kind is DepthKind.AFFINE_INVARIANT_DEPTH and len(np.unique(label.value)) > 256
    three = build_teacher(load_config(MarigoldConfig, {"model": str(folder), "ensemble": 3}), folder=Path())
    assert next(iter(three.label(PHOTO)[0].labels.values())).confidence.mean() < 1
    assert set(one.labels) == set(
        build_teacher(load_config(MarigoldConfig, {"model": str(folder)}), folder=Path()).tasks
    )


def test_editor_is_no_marigold(klein: Path) -> None:
    with pytest.raises(UsageError, match="Flux2KleinPipeline, not MarigoldDepthPipeline"):
        build_teacher(load_config(MarigoldConfig, {"model": str(klein)}), folder=Path())


def test_hub_id_without_network_is_an_error() -> None:
    config = load_config(DiffusersConfig, {"model": "black-forest-labs/FLUX.2-klein-4B"})
    with pytest.raises(ModelUnavailable, match="could not be downloaded") as caught:
        build_teacher(config, folder=Path())
    assert "hf download black-forest-labs/FLUX.2-klein-4B" in caught.value.hint


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "model_index.json is missing"),
        (
            lambda folder: (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 9),
            "Unable to load weights",
        ),
        (lambda folder: (folder / "vae" / "config.json").unlink(), ""),
    ],
)
def test_damaged_pipelines_are_errors(klein: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(klein, folder)
    spoil(folder)
    with pytest.raises(UsageError, match=words):
        teacher = build_teacher(config_of(folder), folder=Path())
        teacher.label(PHOTO)


def test_placement_follows_free_memory() -> None:
    parts = {"transformer": 4_000_000_000, "text_encoder": 4_000_000_000, "vae": 80_000_000}
    assert choose_placement("cpu", "float32", parts, 0).offload == "none"
    chosen = [choose_placement("cuda", "bfloat16", parts, free).offload for free in (24 << 30, 12 << 30, 6 << 30)]
    assert chosen == ["none", "model", "layers"]
    assert choose_placement("cuda", "bfloat16", parts, 6 << 30, "model").offload == "model"
    assert "GB are free" in choose_placement("cuda", "bfloat16", parts, 12 << 30).reason


def test_parameters_are_counted_from_the_files(klein: Path) -> None:
    counted = count_parameters(klein)
    transformer = tiny.flux2_transformer()
    assert counted["transformer"] == sum(p.numel() for p in transformer.parameters())
    assert set(counted) == {"transformer", "text_encoder", "vae"}


def test_failing_pipeline_fails_one_prompt(klein: Path) -> None:
    made = generator(klein, max_pixels=64 * 64, multiple=8)
    wide = read_photo(_png((20, 400)), key="w", name="w.png")
    with pytest.raises(DistillError, match=r"w\.png: Flux2KleinPipeline failed") as caught:
        made.generate(wide, made.prompt_specs(wide)[0], seed=0)
    assert not isinstance(caught.value, UsageError)


def _png(size_hw: tuple[int, int]) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((*size_hw, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_plan_stores_no_images(klein: Path, photos: Path, tmp_path: Path) -> None:
    from distill.workflows.label.estimate import plan_local

    store = tmp_path / "store"
    job = Job(out=tmp_path / "out", config=config_of(klein), folder=Path(), inputs=(str(photos),), store=store)
    values, _ = plan_local(job)
    assert values["answers"] == 8 and values["timed_photos"] == 2 and values["seconds"] > 0
    assert not store.exists() and not (tmp_path / "out").exists()
