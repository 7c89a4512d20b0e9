"""A hosted generator as the rest of the wing sees it: questions, and generated images out of the store.

It never waits for a service by itself. What is not stored is either told to whoever asks ahead (`OnMissing`), or is a
failure of that question, with the reason that the ledger knows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from PIL import Image

from distill.config.hosted import GeminiConfig, HostedConfig, OpenaiConfig
from distill.errors import DistillError
from distill.images import Photo, encode_jpeg, encode_map, image_size_hw
from distill.tasks import Task
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.hosted.services.base import Request, RequestImage
from distill.teachers.hosted.services.canvas_sizes import canvas_sizes
from distill.teachers.prompts.build import build_prompt_specs
from distill.teachers.registration.canvas import fit_canvas, to_canvas
from distill.teachers.store.answers import EMPTY, AnswerStore, AnswerKey, CachedAnswer, AnswerMissing
from distill.teachers.store.ledger import Ledger


class OnMissing(Protocol):
    """Is told of every call that has no answer yet.

    Attributes:
        use_cached: Whether answers that are there should be read; else the teacher only says what it would ask.
    """

    use_cached: bool

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        """Take note of a call.

        Raises:
            AnswerMissing: Always: the answer comes later.
        """
        ...


_PRESENCE_PROMPT = (
    "Is there an instance of {} visible in this image? "
    "Choose your answer from the following options: (A): Yes, (B): No."
)
_MAX_SENT_PX = 2048
"""Longer sides are shrunk before they are sent."""
_SHAPE_TOLERANCE = 0.02
"""An answer whose shape differs by more than this from the canvas does not show the photo as it was sent."""
_FREE_TOLERANCE = 0.16
"""The same where the service chooses the canvas: neighbors among those of Google are up to 31 % apart."""


class HostedGenerator:
    """Questions for a hosted model, and its answers as far as they are stored."""

    def __init__(self, config: HostedConfig, store: AnswerStore, *, on_missing: OnMissing | None = None) -> None:
        self.config, self.store, self.model = config, store, config.model
        self._on_missing = on_missing
        self._sent_image: tuple[str, bytes, str] | None = None

    @cached_property
    def _prompt_specs(self) -> list[PromptSpec]:
        # A photo that is sent to Google in its own shape comes back cut to the nearest canvas.
        own_shape = "cover" if isinstance(self.config, GeminiConfig) else "fill"
        return build_prompt_specs(self.config.prompts, resize_mode="fill" if canvas_sizes(self.config) else own_shape)

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """The config's questions; the same about every photo."""
        return self._prompt_specs

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """What is sent along and decides the answer."""
        return self._parameters(photo.size_hw)

    def request(
        self, photo_sha256: str, size_hw: tuple[int, int], prompt_spec: PromptSpec, seed: int, sample: int = 0
    ) -> Request:
        """The call for a question, without the picture; needs no pixels of the photo."""
        answer_key = AnswerKey(photo_sha256, prompt_spec.prompt, self.model, self._parameters(size_hw), seed, sample)
        presence_model = getattr(self.config, "presence_model", "")
        presence_check = None
        if presence_model and prompt_spec.task in (Task.INSTANCE, Task.REFERRING):
            things = [prompt_spec.class_name] if prompt_spec.task is Task.INSTANCE else list(prompt_spec.legend)
            prompt = _PRESENCE_PROMPT.format(" or ".join(things))
            asked = AnswerKey(photo_sha256, prompt, presence_model, {"send_as": self.config.send_as}, 0, 0)
            presence_check = Request(asked, replace(prompt_spec, prompt=prompt), expects_image=False)
        return Request(answer_key, prompt_spec, canvas_hw=self._canvas_hw(size_hw), presence_check=presence_check)

    def final_answer(self, request: Request) -> tuple[str, float] | None:
        """(key of the final answer, USD paid for all of it); None when there is something left to ask."""
        return final_answer(self.store, request, self.config.limits.max_attempts_without_image)

    @property
    def typical_canvas_hw(self) -> tuple[int, int]:
        """The size that most answers have, for estimates."""
        sizes = canvas_sizes(self.config)
        return sizes[0] if sizes else (1024, 1024)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The stored answer.

        Raises:
            Refusal: The service would not answer.
            AnswerMissing: There is none, or none yet; says why.
            DistillError: The answer is no picture, or not of the shape that was asked for.
        """
        request = self.request(photo.sha256, photo.size_hw, prompt_spec, seed, sample)
        found = self.final_answer(request)
        if self._on_missing is not None:
            if found is None:
                self._on_missing(self, self._with_image(request, photo))
            elif not self._on_missing.use_cached:
                raise AnswerMissing("answered, and to be read when it is labeled")
        stored = self.store.get(found[0]) if found is not None else None
        if found is None or stored is None:
            raise AnswerMissing(self._missing_reason(request))
        cost_usd = found[1]
        if request.presence_check is not None and stored.key == request.presence_check.answer_key.digest:
            return _empty_answer(stored, prompt_spec, photo.size_hw, cost_usd)
        answer = replace(stored.answer(prompt_spec), cost_usd=cost_usd)
        tolerance = _SHAPE_TOLERANCE if request.canvas_hw else _FREE_TOLERANCE
        _check_shape(answer.data, request.canvas_hw or photo.size_hw, tolerance)
        return answer

    def _canvas_hw(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The size (height, width) that the photo is resized to and the answer should have; None: its own."""
        sizes = canvas_sizes(self.config)
        return fit_canvas(size_hw, sizes) if sizes else None

    def _parameters(self, size_hw: tuple[int, int]) -> dict[str, Any]:
        config, canvas_hw = self.config, self._canvas_hw(size_hw)
        values: dict[str, Any] = {"canvas": list(canvas_hw) if canvas_hw else None, "send_as": config.send_as}
        if isinstance(config, GeminiConfig):
            values |= {
                "image_size": config.image_size,
                "temperature": config.temperature,
                "thinking": config.thinking,
            }
        if isinstance(config, OpenaiConfig):
            values |= {"quality": config.quality, "input_fidelity": config.input_fidelity}
        return values

    def _with_image(self, request: Request, photo: Photo) -> Request:
        """The call with what is to be sent; several questions about one photo send the same bytes."""
        if self._sent_image is None or self._sent_image[0] != photo.sha256:
            rgb = to_canvas(photo.rgb, request.canvas_hw) if request.canvas_hw else _shrunk(photo)
            as_png = self.config.send_as == "png"
            data = encode_map(rgb) if as_png else encode_jpeg(rgb)
            self._sent_image = photo.sha256, data, "image/png" if as_png else "image/jpeg"
        _, data, mime = self._sent_image
        presence_check = replace(request.presence_check, photo=photo.name, image=RequestImage(data, mime)) if request.presence_check else None
        return replace(request, photo=photo.name, image=RequestImage(data, mime), presence_check=presence_check)

    def _missing_reason(self, request: Request) -> str:
        """What became of the question, as far as the ledger knows."""
        if (self.store.folder / "ledger.sqlite").is_file():
            try:
                ledger = Ledger(self.store.folder)
            except DistillError:
                return "no answer is stored for this question"
            try:
                steps = [request.presence_check] if request.presence_check else []
                steps += [request.retry(number) for number in range(self.config.limits.max_attempts_without_image)]
                rows = [ledger.row(step.answer_key.digest) for step in steps]
            finally:
                ledger.close()
            for row in rows:
                if row is not None and row["state"] == "failed":
                    return str(row["detail"])
        return "no answer is stored for this question"


def final_answer(store: AnswerStore, request: Request, max_attempts_without_image: int) -> tuple[str, float] | None:
    """(key of the final answer, USD paid for it and what led to it); None when there is something left to ask.

    An absence that the gate found is final. An answer without a picture is asked for again with other seeds.
    """
    cost_usd = 0.0
    if request.presence_check is not None:
        presence_check = store.meta(request.presence_check.answer_key.digest)
        if presence_check is None:
            return None
        cost_usd += presence_check["cost_usd"]
        if _is_absent(presence_check):
            return request.presence_check.answer_key.digest, cost_usd
    key = request.answer_key.digest
    for number in range(max_attempts_without_image):
        key = request.retry(number).answer_key.digest
        meta = store.meta(key)
        if meta is None:
            return None
        cost_usd += meta["cost_usd"]
        if meta["kind"] != EMPTY:
            break
    return key, cost_usd


def next_request(store: AnswerStore, request: Request, max_attempts_without_image: int) -> Request:
    """What to ask next: the gate first; then the question; then the same again while answers hold no picture."""
    if request.presence_check is not None and not store.contains(request.presence_check.answer_key.digest):
        return request.presence_check
    steps = (request.retry(number) for number in range(max_attempts_without_image))
    return next((step for step in steps if not store.contains(step.answer_key.digest)), request)


def _is_absent(presence_check: dict[str, Any]) -> bool:
    """Whether the gate's answer is that there is nothing; anything else is taken for a yes."""
    text = str(presence_check.get("text", "")).strip().lower()
    return text.startswith(("(b)", "b)", "b.", "b:", "no")) or text == "b"


def _empty_answer(stored: CachedAnswer, prompt_spec: PromptSpec, size_hw: tuple[int, int], cost_usd: float) -> GeneratedImage:
    """The picture that a generator would have to paint about something that is not there: background everywhere."""
    flat = np.empty((*size_hw, 3), np.uint8)
    flat[:] = prompt_spec.background
    return GeneratedImage(
        prompt_spec=replace(prompt_spec, resize_mode="fill"),
        data=encode_map(flat),
        name=f"{stored.key}.absent",
        model=stored.meta["model_version"],
        cost_usd=cost_usd,
    )


def _check_shape(data: bytes, canvas_hw: tuple[int, int], tolerance: float) -> None:
    """Refuse an answer of another shape than the canvas; one of another size is only coarser or finer.

    Raises:
        DistillError: It is, or it is no picture.
    """
    height, width = image_size_hw(data, "the answer")
    wanted_h, wanted_w = canvas_hw
    if abs(width / height / (wanted_w / wanted_h) - 1) > tolerance:
        raise DistillError(f"the answer is {width}x{height} px where {wanted_w}x{wanted_h} px were sent")


def _shrunk(photo: Photo) -> np.ndarray:
    """The photo's pixels, no longer than what is worth sending."""
    height, width = photo.size_hw
    scale = min(1.0, _MAX_SENT_PX / max(height, width))
    if scale == 1.0:
        return photo.rgb
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(photo.rgb).resize(size_wh, Image.Resampling.LANCZOS))
