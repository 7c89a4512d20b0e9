"""Generated images without exact pixels are refused; transparent pixels are invalid."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.images import Photo, encode_map, read_photo
from distill.tasks import Task
from distill.teachers.answer_parser import parse_answer
from distill.teachers.answer_reading import AnswerRejected
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.codecs.answer_image import decode_answer_image


def file_of(picture: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def base(mode: str = "RGB", size_wh: tuple[int, int] = (120, 90)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size_wh[::-1], 3), dtype=np.uint8)).convert(mode)


def test_pixels_are_exact_for_every_format_and_file_name() -> None:
    picture = base()
    generated = decode_answer_image(file_of(picture, "PNG"), "answer.jpg")
    np.testing.assert_array_equal(generated.rgb, np.asarray(picture))
    assert generated.container == "png" and generated.opaque is None
    assert decode_answer_image(file_of(picture, "JPEG"), "answer.png").container == "jpg"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file_of(base(), "GIF", save_all=True, append_images=[base().rotate(90)]), "animated"),
        (file_of(base(), "WEBP", save_all=True, append_images=[base().rotate(90)]), "animated"),
        (file_of(base(), "PNG", save_all=True, append_images=[base().rotate(90)]), "animated"),
        (file_of(base("CMYK"), "JPEG"), "CMYK"),
        (file_of(Image.new("1", (20_000, 20_000)), "PNG"), "20000x20000"),
        (file_of(base(), "PNG")[:400], "cannot be decoded"),
        (b"<html>503</html>", "not an image"),
        (b"", "empty"),
    ],
    ids=["gif", "webp", "apng", "cmyk", "bomb", "cut", "html", "empty"],
)
def test_images_without_exact_pixels_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(DistillError, match=words) as caught:
        decode_answer_image(data, "answer 7")
    assert str(caught.value).startswith("answer 7: ")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257)[None].repeat(64, axis=0)
    generated = decode_answer_image(file_of(Image.fromarray(deep), "PNG"), "deep.png")
    np.testing.assert_array_equal(generated.rgb[0, :, 0], np.arange(256))


def photo() -> Photo:
    return read_photo(encode_map(np.asarray(base())), key="one", name="one.png")


def test_transparent_pixels_are_invalid() -> None:
    rgba = np.zeros((90, 120, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:, :60, 3] = 255
    answer = GeneratedImage(
        PromptSpec(Task.SEMANTIC, legend={"a": (255, 0, 0), "b": (255, 255, 255)}), encode(rgba), "x", "m"
    )
    label = parse_answer(photo(), answer, [answer.prompt_spec], register=False).label
    assert label.valid[:, :60].all() and not label.valid[:, 60:].any()
    assert (label.value[:, 60:] == 255).all() and not label.confidence[:, 60:].any()


def encode(rgba: np.ndarray) -> bytes:
    return file_of(Image.fromarray(rgba, "RGBA"), "PNG")


@pytest.mark.parametrize("size_hw", [(1, 1), (90, 8), (90, 400), (400, 90)])
def test_images_of_another_size_or_shape_are_rejected(size_hw: tuple[int, int]) -> None:
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (*size_hw, 3)).copy()
    answer = GeneratedImage(PromptSpec(Task.DEPTH), encode_map(red), "x", "m")
    with pytest.raises(AnswerRejected, match="px") as caught:
        parse_answer(photo(), answer, [answer.prompt_spec], register=False)
    assert caught.value.generated is not None
