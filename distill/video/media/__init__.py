"""Media files as they are: safe opening, errors, kinds by bytes, completeness, clocks, and addresses."""

from __future__ import annotations
