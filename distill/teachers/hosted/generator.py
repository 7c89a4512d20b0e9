"""Generator of a hosted model: builds requests and reads stored answers; it sends nothing itself.

A request without a stored answer goes to `OnMissing`, if there is one; else it fails with the reason in the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.config.hosted import HostedConfig
from distill.errors import DistillError
from distill.images import Photo, encode_jpeg, encode_map, image_size_hw
from distill.teachers.base import CacheableGenerator, GeneratedImage, PromptSpec
from distill.teachers.hosted.request_collector import OnMissing
from distill.teachers.hosted.request_sequence import final_answer
from distill.teachers.hosted.services.base import Request, RequestImage
from distill.teachers.hosted.services.registry import service_of
from distill.teachers.prompts.build import build_prompt_specs
from distill.teachers.registration.canvas import fit_canvas, to_canvas
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.ledger_file import LEDGER
from distill.teachers.store.records import AnswerKey, AnswerMissing, CachedAnswer
from distill.teachers.tasks import teacher_task

_PRESENCE_PROMPT = (
    "Is there an instance of {} visible in this image? "
    "Choose your answer from the following options: (A): Yes, (B): No."
)
_MAX_SENT_PX = 2048
"""Larger photos are resized to this longer side before they are sent."""
_SHAPE_TOLERANCE = 0.02
"""Largest relative difference in aspect ratio between an answer and the size that was sent."""
_FREE_SHAPE_TOLERANCE = 0.16
"""The same if the service chooses the size: neighboring ratios of Google are up to 31 % apart."""


class HostedGenerator(CacheableGenerator):
    """Requests to a hosted model, and its stored answers."""

    def __init__(self, config: HostedConfig, store: AnswerStore, *, on_missing: OnMissing | None = None) -> None:
        self.config, self.store, self.model = config, store, config.model
        self._service = service_of(config)
        self._sizes = self._service.canvas_sizes()
        self._prompt_specs = build_prompt_specs(
            config.prompts, resize_mode="fill" if self._sizes else self._service.own_size_mode
        )
        self._on_missing = on_missing
        self._sent_image: tuple[str, bytes, str] | None = None

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """The prompts of the config; the same for every photo."""
        return self._prompt_specs

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """As `CacheableGenerator.parameters`."""
        return self._parameters(photo.size_hw)

    def request(
        self, photo_sha256: str, size_hw: tuple[int, int], prompt_spec: PromptSpec, seed: int, sample: int = 0
    ) -> Request:
        """The request of a prompt, without the image; needs no pixels of the photo."""
        answer_key = AnswerKey(photo_sha256, prompt_spec.prompt, self.model, self._parameters(size_hw), seed, sample)
        presence_model, presence_check = self._service.presence_model, None
        things = teacher_task(prompt_spec.task).things(prompt_spec)
        if presence_model and things:
            prompt = _PRESENCE_PROMPT.format(" or ".join(things))
            key = AnswerKey(photo_sha256, prompt, presence_model, {"send_as": self.config.send_as}, 0, 0)
            presence_check = Request(key, replace(prompt_spec, prompt=prompt), expects_image=False)
        return Request(answer_key, prompt_spec, canvas_hw=self._canvas_hw(size_hw), presence_check=presence_check)

    def final_answer(self, request: Request) -> tuple[str, float] | None:
        """(key of the final answer, USD paid for all of it); None if a request is still to be sent."""
        return final_answer(self.store, request, self.config.limits.max_attempts_without_image)

    @property
    def typical_canvas_hw(self) -> tuple[int, int]:
        """Size (height, width) of most answers, for estimates."""
        return self._sizes[0] if self._sizes else (1024, 1024)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The stored answer.

        Raises:
            ContentRefused: The service refused.
            AnswerMissing: No answer is stored; the message has the reason.
            DistillError: The answer is not an image, or has another aspect ratio than requested.
        """
        request = self.request(photo.sha256, photo.size_hw, prompt_spec, seed, sample)
        found = self.final_answer(request)
        if self._on_missing is not None:
            if found is None:
                self._on_missing(self, self._with_image(request, photo))
            elif not self._on_missing.use_cached:
                raise AnswerMissing("answered, and decoded later")
        stored = self.store.get(found[0]) if found is not None else None
        if found is None or stored is None:
            raise AnswerMissing(self._missing_reason(request))
        cost_usd = found[1]
        if request.presence_check is not None and stored.key == request.presence_check.answer_key.digest:
            return _empty_answer(stored, prompt_spec, photo.size_hw, cost_usd)
        answer = replace(stored.answer(prompt_spec), cost_usd=cost_usd)
        tolerance = _SHAPE_TOLERANCE if request.canvas_hw else _FREE_SHAPE_TOLERANCE
        _check_shape(answer.data, request.canvas_hw or photo.size_hw, tolerance)
        return answer

    def _canvas_hw(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """Size (height, width) of the sent photo and of the answer; None: the photo's own."""
        return fit_canvas(size_hw, self._sizes) if self._sizes else None

    def _parameters(self, size_hw: tuple[int, int]) -> dict[str, Any]:
        canvas_hw = self._canvas_hw(size_hw)
        return {
            "canvas": list(canvas_hw) if canvas_hw else None,
            "send_as": self.config.send_as,
            **self._service.parameters(),
        }

    def _with_image(self, request: Request, photo: Photo) -> Request:
        """The request with the encoded photo; the prompts about one photo share the bytes."""
        if self._sent_image is None or self._sent_image[0] != photo.sha256:
            rgb = to_canvas(photo.rgb, request.canvas_hw) if request.canvas_hw else _shrunk(photo)
            as_png = self.config.send_as == "png"
            data = encode_map(rgb) if as_png else encode_jpeg(rgb)
            self._sent_image = photo.sha256, data, "image/png" if as_png else "image/jpeg"
        _, data, mime = self._sent_image
        check = request.presence_check
        if check is not None:
            check = replace(check, photo=photo.name, image=RequestImage(data, mime))
        return replace(request, photo=photo.name, image=RequestImage(data, mime), presence_check=check)

    def _missing_reason(self, request: Request) -> str:
        """Why there is no answer, from the ledger."""
        if (self.store.folder / LEDGER).is_file():
            try:
                ledger = Ledger(self.store.folder)
            except DistillError:
                return "no answer is stored for this prompt"
            try:
                steps = [request.presence_check] if request.presence_check else []
                steps += [request.retry(number) for number in range(self.config.limits.max_attempts_without_image)]
                rows = [ledger.row(step.answer_key.digest) for step in steps]
            finally:
                ledger.close()
            for row in rows:
                if row is not None and row["state"] == "failed":
                    return str(row["detail"])
        return "no answer is stored for this prompt"


def _empty_answer(
    stored: CachedAnswer, prompt_spec: PromptSpec, size_hw: tuple[int, int], cost_usd: float
) -> GeneratedImage:
    """The image of an absent object: background everywhere."""
    flat = np.empty((*size_hw, 3), np.uint8)
    flat[:] = prompt_spec.background or (0, 0, 0)
    return GeneratedImage(
        prompt_spec=replace(prompt_spec, resize_mode="fill"),
        data=encode_map(flat),
        name=f"{stored.key}.absent",
        model=stored.meta["model_version"],
        cost_usd=cost_usd,
    )


def _check_shape(data: bytes, canvas_hw: tuple[int, int], tolerance: float) -> None:
    """Raise if an answer has another aspect ratio than the sent photo; another resolution is accepted.

    Raises:
        DistillError: It has, or it is not an image.
    """
    height, width = image_size_hw(data, "the answer")
    wanted_h, wanted_w = canvas_hw
    if abs(width / height / (wanted_w / wanted_h) - 1) > tolerance:
        raise DistillError(f"the answer has {width}x{height} px, but {wanted_w}x{wanted_h} px were sent")


def _shrunk(photo: Photo) -> UInt8[ndarray, "h w 3"]:
    """The photo's pixels, resized to `_MAX_SENT_PX` if they are larger."""
    height, width = photo.size_hw
    scale = min(1.0, _MAX_SENT_PX / max(height, width))
    if scale == 1.0:
        return photo.rgb
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(photo.rgb).resize(size_wh, Image.Resampling.LANCZOS))
