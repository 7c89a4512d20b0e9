"""Unusual images give an error with their name or a consistent label; never a crash."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distill.errors import DistillError
from distill.images import decode_rgb
from distill.labels import Label, encode
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.tasks import decode_answer

LEGEND = {"road": (128, 64, 128), "sky": (70, 130, 180), "background": (0, 0, 0)}
PROMPT_SPECS = [
    PromptSpec(Task.DEPTH),
    PromptSpec(Task.DEPTH, colormap="turbo"),
    PromptSpec(Task.NORMALS),
    PromptSpec(Task.SEMANTIC, legend=LEGEND),
    PromptSpec(Task.REFERRING, legend={"the car": (255, 255, 255)}),
    PromptSpec(Task.INSTANCE, class_name="car"),
]


def file_of(picture: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def base(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).convert(mode)


def odd_files() -> dict[str, bytes]:
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65535, (30, 40), dtype=np.uint16))
    frames = [base(), base().rotate(90)]
    return {
        "truncated.png": file_of(base(), "PNG")[:300],
        "truncated.jpg": file_of(base(), "JPEG")[:300],
        "jpeg called.png": file_of(base(), "JPEG"),
        "deep.png": file_of(deep, "PNG"),
        "cmyk.jpg": file_of(base("CMYK"), "JPEG"),
        "rgba.png": file_of(base("RGBA"), "PNG"),
        "palette.png": file_of(base("P"), "PNG"),
        "one pixel.png": file_of(base(size=(1, 1)), "PNG"),
        "thin.png": file_of(base(size=(300, 1)), "PNG"),
        "animated.gif": file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "text.png": b"an error page",
        "empty.png": b"",
    }


def keeps_promises(label: Label) -> None:
    assert np.all((label.confidence >= 0) & (label.confidence <= 1))
    assert not label.confidence[~label.valid].any()
    assert np.isfinite(label.value.astype(float)).all()
    encode(label)  # what cannot be stored is no label


@pytest.mark.parametrize("name", list(odd_files()))
@pytest.mark.parametrize(
    "prompt_spec", PROMPT_SPECS, ids=lambda prompt_spec: f"{prompt_spec.task}-{prompt_spec.colormap}"
)
def test_unusual_files(name: str, prompt_spec: PromptSpec) -> None:
    try:
        generated, _ = decode_rgb(odd_files()[name], name)
    except DistillError as error:
        assert name in str(error)
        return
    keeps_promises(decode_answer(generated, prompt_spec))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = file_of(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(DistillError, match=r"bomb\.png: 20000x20000"):
        decode_rgb(bomb, "bomb.png")


@settings(max_examples=60, deadline=None)
@given(
    prompt_spec=st.sampled_from(PROMPT_SPECS),
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
    num_colors=st.integers(1, 6),
)
def test_images_of_few_colors(prompt_spec: PromptSpec, size_hw: tuple[int, int], seed: int, num_colors: int) -> None:
    dice = np.random.default_rng(seed)
    colors = dice.integers(0, 256, (num_colors, 3), dtype=np.uint8)
    label = decode_answer(colors[dice.integers(0, num_colors, size_hw)], prompt_spec)
    assert label.size_hw == size_hw
    keeps_promises(label)


def test_a_photo_is_mostly_invalid_as_a_label() -> None:
    dice = np.random.default_rng(0)
    photo = np.clip(dice.normal(120, 30, (64, 64, 1)) + dice.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8)
    for prompt_spec in PROMPT_SPECS[:1] + PROMPT_SPECS[3:5]:
        assert decode_answer(photo, prompt_spec).valid_fraction < 0.2
