"""Which service a recipe means, at which prices, with which key."""

from __future__ import annotations

import os

from distill.config.hosted import GeminiRecipe, HostedRecipe, OpenaiRecipe
from distill.errors import UsageError
from distill.teachers.hosted.pricing import Price, find_price
from distill.teachers.hosted.services.base import Service


def open_service(recipe: HostedRecipe) -> Service:
    """The service, ready to be asked; inside a running event loop.

    Raises:
        UsageError: There is no key.
        DistillError: A package is missing.
    """
    if isinstance(recipe, GeminiRecipe):
        from distill.teachers.hosted.services.gemini import GeminiService

        return GeminiService(recipe)
    if isinstance(recipe, OpenaiRecipe):
        from distill.teachers.hosted.services.openai import OpenaiService

        return OpenaiService(recipe)
    raise UsageError(f"no service is known for {type(recipe).__name__}")


def prices_of(recipe: HostedRecipe, *, mode: str = "") -> tuple[Price, Price]:
    """(price of the painter, price of the gate) in the recipe's mode or another one.

    Raises:
        UsageError: The recipe's own table cannot be read.
    """
    mode = mode or str(getattr(recipe, "mode", "online"))
    size = str(getattr(recipe, "image_size", "") or getattr(recipe, "quality", ""))
    price = find_price(recipe.model, mode=mode, size=size, extra=recipe.prices)
    gate_model = str(getattr(recipe, "gate_model", ""))
    # The gate is a question of its own, asked online whatever the mode of the painter.
    gate_mode = "online" if mode == "batch" else mode
    gate = find_price(gate_model, mode=gate_mode, size="", extra=recipe.prices) if gate_model else price
    return price, gate


def find_secrets(recipe: HostedRecipe) -> list[str]:
    """Every key in the environment that the recipe may use; never to be shown or kept."""
    return [os.environ[name] for name in recipe.key_env if os.environ.get(name)]
