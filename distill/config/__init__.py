"""Typed YAML configs; `base` loads, checks and writes them."""

from __future__ import annotations

from distill.config.base import Recipe, dump_recipe, load_recipe, read_yaml

__all__ = ["Recipe", "dump_recipe", "load_recipe", "read_yaml"]
