"""Service, prices and API keys of a hosted config."""

from __future__ import annotations

import os

from distill.config.hosted import HostedConfig
from distill.errors import UsageError
from distill.teachers.hosted.pricing import Price, find_price
from distill.teachers.hosted.services.base import Service
from distill.teachers.kinds import kind_of, load_object


def service_of(config: HostedConfig) -> Service:
    """The service of a config, not connected yet."""
    service: Service = load_object(kind_of(config).service)(config)
    return service


def prices_of(config: HostedConfig, *, mode: str = "") -> tuple[Price, Price]:
    """(price of an image, price of a presence check) in the config's price mode or another one.

    Raises:
        UsageError: The config's own price table cannot be read.
    """
    service = service_of(config)
    mode = mode or service.mode
    price = find_price(config.model, mode=mode, size=service.price_size, extra=config.prices)
    if not service.presence_model:
        return price, price
    # Presence checks are separate requests, always sent online.
    presence_mode = "online" if mode == "batch" else mode
    return price, find_price(service.presence_model, mode=presence_mode, size="", extra=config.prices)


def find_api_keys(config: HostedConfig) -> list[str]:
    """Every key in the environment that the config may use; to be removed from all messages."""
    return [os.environ[name].strip() for name in config.api_key_env if os.environ.get(name, "").strip()]


def find_api_key(config: HostedConfig, *, required: bool) -> str:
    """The first key in the environment; empty if there is none.

    Raises:
        UsageError: There is none, and one is required.
    """
    key = next(iter(find_api_keys(config)), "")
    if not key and required:
        raise UsageError(
            f"no API key for {config.model}", hint=f"set {' or '.join(config.api_key_env)} in the environment"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"the API key in {' or '.join(config.api_key_env)} contains a space, a line break or another character that"
            " no key has",
            hint="copy the key again, as one line",
        )
    return key
