"""Which service a config means, at which prices, with which key."""

from __future__ import annotations

import os

from distill.config.hosted import GeminiConfig, HostedConfig, OpenaiConfig
from distill.errors import UsageError
from distill.teachers.hosted.pricing import Price, find_price
from distill.teachers.hosted.services.base import Service


def open_service(config: HostedConfig) -> Service:
    """The service, ready to be asked; inside a running event loop.

    Raises:
        UsageError: There is no key.
        DistillError: A package is missing.
    """
    if isinstance(config, GeminiConfig):
        from distill.teachers.hosted.services.gemini import GeminiService

        return GeminiService(config)
    if isinstance(config, OpenaiConfig):
        from distill.teachers.hosted.services.openai import OpenaiService

        return OpenaiService(config)
    raise UsageError(f"no service is known for {type(config).__name__}")


def prices_of(config: HostedConfig, *, mode: str = "") -> tuple[Price, Price]:
    """(price of the painter, price of the gate) in the config's mode or another one.

    Raises:
        UsageError: The config's own table cannot be read.
    """
    mode = mode or str(getattr(config, "mode", "online"))
    size = str(getattr(config, "image_size", "") or getattr(config, "quality", ""))
    price = find_price(config.model, mode=mode, size=size, extra=config.prices)
    presence_model = str(getattr(config, "presence_model", ""))
    # The gate is a question of its own, asked online whatever the mode of the painter.
    presence_mode = "online" if mode == "batch" else mode
    presence_check = find_price(presence_model, mode=presence_mode, size="", extra=config.prices) if presence_model else price
    return price, presence_check


def find_api_keys(config: HostedConfig) -> list[str]:
    """Every key in the environment that the config may use; never to be shown or kept."""
    return [os.environ[name] for name in config.api_key_env if os.environ.get(name)]
