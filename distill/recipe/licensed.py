"""What every teacher recipe says about what may be done with its labels."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator

from distill.recipe import Recipe


class Licensed(Recipe):
    """A recipe that states a license and where its terms can be read."""

    takes_all_cores: ClassVar[bool] = False
    """Whether one process of such a teacher keeps the whole machine busy."""

    keeps_answers: ClassVar[bool] = False
    """Whether its painted answers cost money or hours, so that they are kept even when nobody says where."""

    license: str = "unknown"
    """A license's usual name, such as ``Apache-2.0``, a class (``commercial``, ``restricted``, ``non-commercial``,
    ``research``, ``unknown``), or a class with a name behind it: ``restricted (SAM License)``."""
    terms: str = ""
    """Link to the terms, https://..."""

    def deciding(self) -> dict[str, Any]:
        """What of this recipe decides the labels."""
        return self.model_dump(mode="json")

    @field_validator("terms")
    @classmethod
    def _is_a_link(cls, terms: str) -> str:
        if terms and not terms.startswith(("https://", "http://")):
            raise ValueError("terms is a link that starts with https://")
        return terms
