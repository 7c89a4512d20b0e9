"""Images with swapped rows, a named background or 16 bits are read by what they show."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from distill.config.synthetic import SyntheticConfig
from distill.images import decode_rgb, encode_map, read_photo
from distill.tasks import DepthKind, Task
from distill.teachers.answer_parser import ParsedAnswer, parse_answer
from distill.teachers.answer_reading import AnswerRejected
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.synthetic.generator import SyntheticGenerator
from distill.teachers.synthetic.rendering import scene_photo

SIZE_HW = (96, 128)
RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)
PHOTO = read_photo(
    encode_map(np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)), key="a", name="a.png"
)


def box(color: tuple[int, int, int], background: tuple[int, int, int] = BLACK) -> np.ndarray:
    rgb = np.empty((*SIZE_HW, 3), np.uint8)
    rgb[:] = background
    rgb[30:60, 40:90] = color
    return rgb


def parse(generated: np.ndarray, prompt: PromptSpec, *others: PromptSpec) -> ParsedAnswer:
    buffer = io.BytesIO()
    Image.fromarray(generated).save(buffer, "PNG")
    return parse_answer(
        PHOTO, GeneratedImage(prompt, buffer.getvalue(), "x.png", "m"), [prompt, *others], register=False
    )


CAT, DOG = (PromptSpec(Task.SEMANTIC, legend={name: color}) for name, color in (("cat", RED), ("dog", BLUE)))


def test_swapped_images_are_repaired_without_a_named_background() -> None:
    found = parse(box(BLUE), CAT, DOG)
    assert found.label.classes == ("dog", "background") and found.label.valid.all()
    assert any("two images seem to be swapped" in note for note in found.notes)
    own = parse(box(RED), CAT, DOG)
    assert own.label.classes == ("cat", "background") and not any("swapped" in note for note in own.notes)


def test_an_image_without_its_class_is_not_swapped() -> None:
    found = parse(box(BLACK), CAT, DOG)
    assert not any("swapped" in note for note in found.notes)
    assert (found.label.value == found.label.classes.index("background")).all()


def test_an_unclear_background_is_a_rejection_with_its_reason() -> None:
    halves = box(RED)
    halves[:, :70], halves[:, 70:] = RED, BLUE
    with pytest.raises(AnswerRejected, match="name it as background"):
        parse(halves, PromptSpec(Task.INSTANCE, class_name="cat"))


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS])
def test_a_named_background_has_no_value(task: Task) -> None:
    background = (255, 0, 64) if task is Task.DEPTH else (40, 128, 200)
    color = (255, 128, 0) if task is Task.DEPTH else (128, 128, 255)
    label = parse(box(color, background), PromptSpec(task, background=background)).label
    assert label.valid[45, 60] and not label.valid[5, 5] and label.confidence[5, 5] == 0


def test_gray_of_16_bits_keeps_them() -> None:
    gray = np.linspace(0, 65535, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint16)
    prompt = PromptSpec(Task.DEPTH, colormap="gray", depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, near_is_low=False)
    label = parse(gray, prompt).label
    assert np.unique(label.value).size > 10_000
    np.testing.assert_allclose(label.value, gray / 65535, atol=2e-5)
    # 8-bit values in a file of 16 bits are 8-bit values.
    small = parse((gray // 257).astype(np.uint16), prompt)
    np.testing.assert_allclose(small.label.value, gray / 65535, atol=1 / 250)
    assert any("16 bits hold 8-bit values" in note for note in small.notes)


def test_a_frame_is_invalid_and_the_rest_is_aligned_without_it() -> None:
    config = SyntheticConfig(size_hw=(192, 256), tasks=(Task.DEPTH,))
    photo, generator = scene_photo(3007, config), SyntheticGenerator(config)
    (prompt,) = generator.prompt_specs(photo)
    answer = generator.generate(photo, prompt, seed=0)
    whole = parse_answer(photo, answer, [prompt], register=True)
    framed = decode_rgb(answer.data, answer.name)[0]
    framed[:8] = framed[-8:] = framed[:, :8] = framed[:, -8:] = 255
    found = parse_answer(photo, replace(answer, data=encode_map(framed)), [prompt], register=True)
    inner = np.s_[16:-16, 16:-16]
    assert not found.label.valid[:6].any() and not found.label.valid[:, -6:].any()
    assert found.label.valid[inner].mean() > 0.95 * whole.label.valid[inner].mean()
    both = (found.label.valid & whole.label.valid)[inner]
    assert np.allclose(found.label.value[inner][both], whole.label.value[inner][both], rtol=0.02)
    assert any("a frame" in note for note in found.notes)
