"""Typed YAML configs; `base` loads, checks and writes them."""

from __future__ import annotations

from distill.config.base import Config, dump_config, load_config, read_yaml

__all__ = ["Config", "dump_config", "load_config", "read_yaml"]
