"""Configs of teachers that are asked over a network and cost money: `gemini`, and `openai`-style image edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.prompt import PromptConfig
from distill.config.teacher import TeacherConfig
from distill.tasks import Task


class LimitsConfig(Config):
    """How hard a service may be asked; None: no limit known.

    Attributes:
        requests_per_minute: Of the account, all kinds of calls.
        images_per_minute: Of the account, calls that paint.
        tokens_per_minute: Of the account, tokens read.
        concurrency: Calls in flight at most; the number in use grows and shrinks below it by itself.
        max_attempts: Calls for one answer before it is given up: after 429, 5xx, timeouts and cut connections.
        max_attempts_without_image: Calls for one answer when the service answers with words; each with another seed.
        timeout_s: Of one call.
        initial_backoff_s: Before the second try; doubles with each try, with jitter; what the service says comes first.
        max_backoff_s: No delay of ours is longer.
        abort_after_s: The run stops when the service gave nothing but errors for this long.
    """

    requests_per_minute: float | None = Field(default=None, gt=0)
    images_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=32, ge=1, le=1024)
    max_attempts: int = Field(default=8, ge=1)
    max_attempts_without_image: int = Field(default=3, ge=1)
    timeout_s: float = Field(default=180.0, gt=0)
    initial_backoff_s: float = Field(default=1.0, ge=0)
    max_backoff_s: float = Field(default=60.0, ge=0)
    abort_after_s: float = Field(default=120.0, ge=0)


class HostedConfig(TeacherConfig):
    """What all services have in common.

    Attributes:
        model: Which model is asked; any id that the service knows.
        prompts: What is asked.
        seed: Sent along where the service takes one; another seed, other answers.
        send_as: How the photo is sent: ``png`` keeps every pixel, ``jpeg`` is a quarter of the bytes.
        base_url: Of the service; empty: its own.
        api_key_env: Environment variables that may hold the key; the first that is set counts. The key itself is never
            written into a config.
        limits: How hard it may be asked.
        prices: A table of prices that adds to the one in the package, or replaces entries of it.
    """

    model: str = Field(min_length=1)
    prompts: PromptConfig = PromptConfig()
    seed: int = Field(default=0, ge=0)
    send_as: Literal["png", "jpeg"] = "png"
    base_url: str = ""
    api_key_env: tuple[str, ...] = ()
    limits: LimitsConfig = LimitsConfig()
    prices: Path | None = None

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("base_url starts with https:// or http://")
        if "@" in url or "?" in url:
            raise ValueError("base_url holds no user, key or query; keys come from the environment")
        return url.rstrip("/")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is asked."""
        return self.prompts.tasks

    def fingerprint_fields(self) -> dict[str, Any]:
        """What decides the labels: not how fast, where and at what price the answers come."""
        return self.model_dump(
            mode="json",
            exclude={"base_url", "api_key_env", "limits", "prices", "mode", "vertex", "project", "location"},
        )


class GeminiConfig(HostedConfig):
    """Google's image generators, through the Gemini API or Vertex AI.

    Attributes:
        mode: ``online``: many calls in flight; ``flex``: the same at half price and lower priority; ``batch``: jobs at
            half price, done within a day.
        image_size: Of the answer.
        canvas_mode: ``exact``: the photo is resized to the very canvas that the answer will have, so that nothing is moved;
            ``photo``: it is sent as it is and the service chooses.
        temperature: None: the model's own.
        thinking: Where the model lets one choose; None: the model's own.
        vertex: Ask through Vertex AI.
        project: Vertex: the project; empty: the environment's.
        location: Vertex: the region; empty: the environment's.
        presence_model: A cheap text model that is asked first whether an instance or a phrase is there at all; empty: no
            such question. What is absent gets an empty mask for the price of a sentence.
        batch_images: Questions in one batch job at most; larger ones have been billed and lost.
        poll_s: Batch: seconds between looks.
    """

    kind: Literal["gemini"] = "gemini"
    model: str = "gemini-nano-banana-2.1"
    license: str = "restricted (Gemini API Additional Terms)"
    terms: str = "https://ai.google.dev/gemini-api/terms"
    api_key_env: tuple[str, ...] = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    mode: Literal["online", "flex", "batch"] = "online"
    image_size: Literal["1K", "2K", "4K"] = "1K"
    canvas_mode: Literal["exact", "photo"] = "exact"
    temperature: float | None = Field(default=None, ge=0, le=2)
    thinking: Literal["minimal", "low", "medium", "high"] | None = None
    vertex: bool = False
    project: str = ""
    location: str = ""
    presence_model: str = ""
    batch_images: int = Field(default=120, ge=1, le=150)
    poll_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _check_compatible(self) -> Self:
        if self.vertex and self.mode != "online":
            raise ValueError(f"mode {self.mode} is not to be had through Vertex AI here; use the Gemini API, or online")
        return self


class OpenaiConfig(HostedConfig):
    """Any service with the ``/v1/images/edits`` endpoint: GPT-image, and the many compatible servers.

    Attributes:
        sizes_hw: Canvas sizes (height, width) that the service knows; the photo is resized to the nearest in shape.
            Empty: the photo is sent as it is and no size is asked for.
        quality: As the service calls it; empty: not sent.
        input_fidelity: As the service calls it; empty: not sent.
        send_seed: Whether the service takes a seed.
    """

    kind: Literal["openai"] = "openai"
    model: str = "gpt-image-1.5"
    base_url: str = "https://api.openai.com"
    api_key_env: tuple[str, ...] = ("OPENAI_API_KEY",)
    license: str = "unknown"
    mode: Literal["online"] = "online"
    sizes_hw: tuple[tuple[int, int], ...] = ((1024, 1024), (1024, 1536), (1536, 1024))
    quality: Literal["", "low", "medium", "high", "auto"] = "medium"
    input_fidelity: Literal["", "low", "high"] = "high"
    send_seed: bool = False
