"""Cost of a request: the maximum beforehand, the real one by the reported tokens; from a dated table in YAML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import Field

from distill.config import Config, load_config, read_yaml
from distill.teachers.hosted.services.base import Usage

TABLE = Path(__file__).with_name("prices.yaml")
_CHARACTERS_PER_TOKEN = 2
"""English text has four; class lists with colors have fewer."""


class PerMillion(Config):
    """USD per million tokens."""

    input: float = Field(default=0.0, ge=0)
    text: float = Field(default=0.0, ge=0)
    image: float = Field(default=0.0, ge=0)


class ModelPrices(Config):
    """Prices of one model."""

    per_million: PerMillion = PerMillion()
    image_tokens: dict[str, int] = Field(default_factory=dict)
    photo_tokens: int = Field(default=0, ge=0)
    text_tokens: int = Field(default=0, ge=0)
    per_image: dict[str, float] = Field(default_factory=dict)
    discount: dict[str, float] = Field(default_factory=dict)
    typical_s: float = Field(default=20.0, gt=0)


class PriceTable(Config):
    """Prices of all models."""

    dated: date
    models: dict[str, ModelPrices]


@dataclass(frozen=True)
class Price:
    """Cost of requests to one model in one price mode and size, in USD.

    Attributes:
        model: Name of the model.
        prices: Its entry in the table; None: it has none.
        mode: ``online``, ``flex`` or ``batch``.
        size: Size of the image, or its quality if that determines the price.
        dated: Date of the table.
    """

    model: str
    prices: ModelPrices | None
    mode: str
    size: str
    dated: str

    @property
    def known(self) -> bool:
        """Whether the table has the model."""
        return self.prices is not None

    @property
    def typical_s(self) -> float:
        """Seconds from request to answer."""
        return self.prices.typical_s if self.prices else ModelPrices().typical_s

    def worst_usd(self, prompt: str = "", *, expects_image: bool = True) -> float:
        """Maximum cost of one request."""
        return self._total(prompt, expects_image, with_text=True)

    def likely_usd(self, prompt: str = "", *, expects_image: bool = True) -> float:
        """Cost of one request if the answer has no text next to the image."""
        return self._total(prompt, expects_image, with_text=not expects_image)

    def input_tokens(self, prompt: str) -> int:
        """Input tokens of one request."""
        return (self.prices.photo_tokens if self.prices else 0) + len(prompt) // _CHARACTERS_PER_TOKEN + 16

    def cost_usd(self, usage: Usage | None) -> float:
        """Cost of a request by its reported tokens; the likely cost if the service reports none."""
        if self.prices is None:
            return 0.0
        if usage is None:
            return self.likely_usd()
        each = self.prices.per_million
        tokens_usd = (usage.input * each.input + usage.text * each.text + usage.image * each.image) / 1e6
        return (tokens_usd + self.prices.per_image.get(self.size, 0.0)) * self._factor

    @property
    def _factor(self) -> float:
        return self.prices.discount.get(self.mode, 1.0) if self.prices else 1.0

    def _total(self, prompt: str, expects_image: bool, *, with_text: bool) -> float:
        if self.prices is None:
            return 0.0
        each = self.prices.per_million
        # An unknown size counts as the most expensive.
        most = max(self.prices.image_tokens.values(), default=0)
        image = self.prices.image_tokens.get(self.size, most) if expects_image else 0
        text = self.prices.text_tokens if with_text else 0
        tokens_usd = (self.input_tokens(prompt) * each.input + text * each.text + image * each.image) / 1e6
        highest_usd = max(self.prices.per_image.values(), default=0.0)
        return (
            tokens_usd + (self.prices.per_image.get(self.size, highest_usd) if expects_image else 0.0)
        ) * self._factor


def find_price(model: str, *, mode: str, size: str, extra: Path | None = None) -> Price:
    """The price of a model, from the user's table first, then from the package's.

    Raises:
        UsageError: The user's table cannot be read.
    """
    table = load_config(PriceTable, read_yaml(TABLE), name=str(TABLE))
    models, dated = dict(table.models), table.dated
    if extra is not None:
        own = load_config(PriceTable, read_yaml(extra), name=str(extra))
        models |= own.models
        dated = own.dated if model in own.models else dated
    return Price(model, models.get(model), mode, size, str(dated))
