"""Configs of hosted teachers, which cost money: `gemini`, and `openai`-compatible image edits."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import TeacherConfig
from distill.tasks import Task

_LOOKS_LIKE_KEY = re.compile(r"(^|/)(sk-|AIza|key-)|[A-Za-z0-9_-]{32,}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LimitsConfig(Config):
    """Rate limits and retries of a service; None: no known limit.

    Attributes:
        requests_per_minute: Limit of the account, all kinds of requests.
        images_per_minute: Limit of the account, requests for images.
        tokens_per_minute: Limit of the account, input tokens.
        concurrency: Maximum number of requests in flight; the actual number adapts below it.
        max_attempts: Maximum number of attempts after 429, 5xx, timeouts and cut connections.
        max_attempts_without_image: Maximum number of requests if the answers have only text; each has another seed.
        timeout_s: Timeout of one request.
        initial_backoff_s: Delay before the second attempt; doubles with each attempt, with jitter. A delay that the
            service requests takes precedence.
        max_backoff_s: Maximum of the doubled delay.
        abort_after_s: The run stops if the service gives only errors for this long.
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
    """Keys that all services share.

    Attributes:
        model: Model id of the service.
        prompts: Tasks and prompts.
        seed: Sent if the service accepts one; another seed gives other answers.
        send_as: Format of the sent photo: ``png`` is lossless, ``jpeg`` has a quarter of the bytes.
        base_url: URL of the service; empty: its default.
        api_key_env: Environment variables with the API key; the first one that is set is used. The key itself is never
            part of a config.
        limits: Rate limits and retries.
        prices: A price table that extends the one in the package or replaces entries of it.
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
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("base_url must start with https:// or http://")
        if "@" in url or "?" in url or "#" in url or _LOOKS_LIKE_KEY.search(parts.path):
            raise ValueError("base_url must not contain a user, key or query; keys come from the environment")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("base_url must start with https://: a key would be sent unencrypted to another machine")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _check_variables(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if any(not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name) for name in names):
            raise ValueError("api_key_env must be names of environment variables, such as OPENAI_API_KEY, not keys")
        return names

    def foreign_service(self) -> str:
        """Why a key would go to another address, or come from another variable, than the service's own; else empty."""
        fields = type(self).model_fields
        names = [name for name in self.api_key_env if name not in fields["api_key_env"].default]
        if names:
            return f"takes the key from {names[0]}, which is not a variable of this service"
        host = urlsplit(self.base_url).hostname
        if host and self.base_url != fields["base_url"].default and not is_loopback(host):
            return f"sends the key to {host}, which is not the service's own address"
        return ""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks of the prompts."""
        return self.prompts.tasks

    def fingerprint_fields(self) -> dict[str, Any]:
        """The fields that affect the labels: not speed, location and price of the requests."""
        return self.model_dump(
            mode="json",
            exclude={"base_url", "api_key_env", "limits", "prices", "mode", "vertex", "project", "location"},
        )


class GeminiConfig(HostedConfig):
    """Google's image models, through the Gemini API or Vertex AI.

    Attributes:
        mode: ``online``: many requests at once; ``flex``: half the price, lower priority; ``batch``: half the price,
            batch jobs that are done within a day.
        image_size: Size of the answer.
        canvas_mode: ``exact``: the photo is resized to the exact size of the answer, so that nothing is shifted;
            ``photo``: it is sent in its own size and the service chooses.
        temperature: None: the model's default.
        thinking: Thinking level, if the model has several; None: the model's default.
        vertex: Use Vertex AI.
        project: Vertex: the project; empty: from the environment.
        location: Vertex: the region; empty: from the environment.
        presence_model: A cheap text model that checks first whether an instance or a phrase is in the photo; empty: no
            check. An absent object gets an empty mask for the price of a sentence.
        batch_images: Maximum number of requests per batch job; larger jobs have been charged and lost.
        poll_s: Batch: seconds between two looks at the state of a job.
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
    def _check_compatible(self) -> GeminiConfig:
        if self.vertex and self.mode != "online":
            raise ValueError(f"mode {self.mode} is not supported with Vertex AI; use the Gemini API, or mode online")
        return self


class OpenaiConfig(HostedConfig):
    """Any service with the ``/v1/images/edits`` endpoint: GPT-image and compatible servers.

    Attributes:
        sizes_hw: Image sizes (height, width) of the service; the photo is resized to the one with the nearest ratio.
            Empty: the photo is sent in its own size, and no size is requested.
        quality: As the service names it; empty: not sent.
        input_fidelity: As the service names it; empty: not sent.
        send_seed: Whether the service accepts a seed.
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
