"""A hosted generator as the rest of the wing sees it: questions, and generated images out of the store.

It never waits for a service by itself. What is not stored is either told to whoever asks ahead (`Wants`), or is a
failure of that question, with the reason that the ledger knows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from PIL import Image

from distill.config.hosted import GeminiRecipe, HostedRecipe, OpenaiRecipe
from distill.errors import DistillError
from distill.images import Photo, encode_jpeg, encode_map, picture_size_hw
from distill.tasks import Task
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.hosted.services.base import Call, Sent
from distill.teachers.hosted.services.canvas_sizes import canvas_sizes
from distill.teachers.prompts.build import build_prompt_specs
from distill.teachers.registration.canvas import fit_canvas, to_canvas
from distill.teachers.store.answers import EMPTY, AnswerStore, Ask, Stored, Unanswered
from distill.teachers.store.ledger import Ledger


class Wants(Protocol):
    """Is told of every call that has no answer yet.

    Attributes:
        reads: Whether answers that are there should be read; else the teacher only says what it would ask.
    """

    reads: bool

    def __call__(self, generator: HostedGenerator, call: Call) -> None:
        """Take note of a call.

        Raises:
            Unanswered: Always: the answer comes later.
        """
        ...


_GATE = (
    "Is there an instance of {} visible in this image? "
    "Choose your answer from the following options: (A): Yes, (B): No."
)
_MOST_SENT_PX = 2048
"""Longer sides are shrunk before they are sent."""
_SHAPE_TOLERANCE = 0.02
"""An answer whose shape differs by more than this from the canvas does not show the photo as it was sent."""
_FREE_TOLERANCE = 0.16
"""The same where the service chooses the canvas: neighbors among those of Google are up to 31 % apart."""


class HostedGenerator:
    """Questions for a hosted model, and its answers as far as they are stored."""

    def __init__(self, recipe: HostedRecipe, store: AnswerStore, *, wants: Wants | None = None) -> None:
        self.recipe, self.store, self.model = recipe, store, recipe.model
        self._wants = wants
        self._sent: tuple[str, bytes, str] | None = None

    @cached_property
    def _prompt_specs(self) -> list[PromptSpec]:
        # A photo that is sent to Google in its own shape comes back cut to the nearest canvas.
        own_shape = "cover" if isinstance(self.recipe, GeminiRecipe) else "fill"
        return build_prompt_specs(self.recipe.prompts, resize_mode="fill" if canvas_sizes(self.recipe) else own_shape)

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """The recipe's questions; the same about every photo."""
        return self._prompt_specs

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """What is sent along and decides the answer."""
        return self._parameters(photo.size_hw)

    def call(
        self, photo_sha256: str, size_hw: tuple[int, int], prompt_spec: PromptSpec, seed: int, sample: int = 0
    ) -> Call:
        """The call for a question, without the picture; needs no pixels of the photo."""
        ask = Ask(photo_sha256, prompt_spec.prompt, self.model, self._parameters(size_hw), seed, sample)
        gate_model = getattr(self.recipe, "gate_model", "")
        gate = None
        if gate_model and prompt_spec.task in (Task.INSTANCE, Task.REFERRING):
            things = [prompt_spec.class_name] if prompt_spec.task is Task.INSTANCE else list(prompt_spec.legend)
            sentence = _GATE.format(" or ".join(things))
            asked = Ask(photo_sha256, sentence, gate_model, {"send_as": self.recipe.send_as}, 0, 0)
            gate = Call(asked, replace(prompt_spec, prompt=sentence), paints=False)
        return Call(ask, prompt_spec, canvas_hw=self._canvas_hw(size_hw), gate=gate)

    def settled(self, call: Call) -> tuple[str, float] | None:
        """(key of the final answer, USD paid for all of it); None when there is something left to ask."""
        return settled(self.store, call, self.recipe.limits.tries_without_picture)

    @property
    def typical_canvas_hw(self) -> tuple[int, int]:
        """The size that most answers have, for estimates."""
        sizes = canvas_sizes(self.recipe)
        return sizes[0] if sizes else (1024, 1024)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The stored answer.

        Raises:
            Refusal: The service would not answer.
            Unanswered: There is none, or none yet; says why.
            DistillError: The answer is no picture, or not of the shape that was asked for.
        """
        call = self.call(photo.sha256, photo.size_hw, prompt_spec, seed, sample)
        found = self.settled(call)
        if self._wants is not None:
            if found is None:
                self._wants(self, self._with_picture(call, photo))
            elif not self._wants.reads:
                raise Unanswered("answered, and to be read when it is labeled")
        stored = self.store.find(found[0]) if found is not None else None
        if found is None or stored is None:
            raise Unanswered(self._why_not(call))
        cost_usd = found[1]
        if call.gate is not None and stored.key == call.gate.ask.key:
            return _absent(stored, prompt_spec, photo.size_hw, cost_usd)
        answer = replace(stored.answer(prompt_spec), cost_usd=cost_usd)
        tolerance = _SHAPE_TOLERANCE if call.canvas_hw else _FREE_TOLERANCE
        _check_shape(answer.data, call.canvas_hw or photo.size_hw, tolerance)
        return answer

    def _canvas_hw(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The size (height, width) that the photo is resized to and the answer should have; None: its own."""
        sizes = canvas_sizes(self.recipe)
        return fit_canvas(size_hw, sizes) if sizes else None

    def _parameters(self, size_hw: tuple[int, int]) -> dict[str, Any]:
        recipe, canvas_hw = self.recipe, self._canvas_hw(size_hw)
        values: dict[str, Any] = {"canvas": list(canvas_hw) if canvas_hw else None, "send_as": recipe.send_as}
        if isinstance(recipe, GeminiRecipe):
            values |= {
                "image_size": recipe.image_size,
                "temperature": recipe.temperature,
                "thinking": recipe.thinking,
            }
        if isinstance(recipe, OpenaiRecipe):
            values |= {"quality": recipe.quality, "input_fidelity": recipe.input_fidelity}
        return values

    def _with_picture(self, call: Call, photo: Photo) -> Call:
        """The call with what is to be sent; several questions about one photo send the same bytes."""
        if self._sent is None or self._sent[0] != photo.sha256:
            rgb = to_canvas(photo.rgb, call.canvas_hw) if call.canvas_hw else _shrunk(photo)
            as_png = self.recipe.send_as == "png"
            data = encode_map(rgb) if as_png else encode_jpeg(rgb)
            self._sent = photo.sha256, data, "image/png" if as_png else "image/jpeg"
        _, data, mime = self._sent
        gate = replace(call.gate, photo=photo.name, sent=Sent(data, mime)) if call.gate else None
        return replace(call, photo=photo.name, sent=Sent(data, mime), gate=gate)

    def _why_not(self, call: Call) -> str:
        """What became of the question, as far as the ledger knows."""
        if (self.store.folder / "ledger.sqlite").is_file():
            try:
                ledger = Ledger(self.store.folder)
            except DistillError:
                return "no answer is stored for this question"
            try:
                steps = [call.gate] if call.gate else []
                steps += [call.again(number) for number in range(self.recipe.limits.tries_without_picture)]
                rows = [ledger.row(step.ask.key) for step in steps]
            finally:
                ledger.close()
            for row in rows:
                if row is not None and row["state"] == "failed":
                    return str(row["detail"])
        return "no answer is stored for this question"


def settled(store: AnswerStore, call: Call, tries_without_picture: int) -> tuple[str, float] | None:
    """(key of the final answer, USD paid for it and what led to it); None when there is something left to ask.

    An absence that the gate found is final. An answer without a picture is asked for again with other seeds.
    """
    cost_usd = 0.0
    if call.gate is not None:
        gate = store.meta(call.gate.ask.key)
        if gate is None:
            return None
        cost_usd += gate["cost_usd"]
        if _says_no(gate):
            return call.gate.ask.key, cost_usd
    key = call.ask.key
    for number in range(tries_without_picture):
        key = call.again(number).ask.key
        meta = store.meta(key)
        if meta is None:
            return None
        cost_usd += meta["cost_usd"]
        if meta["kind"] != EMPTY:
            break
    return key, cost_usd


def next_step(store: AnswerStore, call: Call, tries_without_picture: int) -> Call:
    """What to ask next: the gate first; then the question; then the same again while answers hold no picture."""
    if call.gate is not None and not store.holds(call.gate.ask.key):
        return call.gate
    steps = (call.again(number) for number in range(tries_without_picture))
    return next((step for step in steps if not store.holds(step.ask.key)), call)


def _says_no(gate: dict[str, Any]) -> bool:
    """Whether the gate's answer is that there is nothing; anything else is taken for a yes."""
    text = str(gate.get("text", "")).strip().lower()
    return text.startswith(("(b)", "b)", "b.", "b:", "no")) or text == "b"


def _absent(stored: Stored, prompt_spec: PromptSpec, size_hw: tuple[int, int], cost_usd: float) -> GeneratedImage:
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
    height, width = picture_size_hw(data, "the answer")
    wanted_h, wanted_w = canvas_hw
    if abs(width / height / (wanted_w / wanted_h) - 1) > tolerance:
        raise DistillError(f"the answer is {width}x{height} px where {wanted_w}x{wanted_h} px were sent")


def _shrunk(photo: Photo) -> np.ndarray:
    """The photo's pixels, no longer than what is worth sending."""
    height, width = photo.size_hw
    scale = min(1.0, _MOST_SENT_PX / max(height, width))
    if scale == 1.0:
        return photo.rgb
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(photo.rgb).resize(size_wh, Image.Resampling.LANCZOS))
