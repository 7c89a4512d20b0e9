"""The training config: read it with overrides, and list its keys."""

from __future__ import annotations

import ast
import inspect
import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from distill.config import load_config
from distill.config.train import TRUSTED_BACKBONES, TrainConfig
from distill.workflows.arguments import Overrides, Paths, StrPath, to_override_words, to_paths


def read_train_config(
    config: StrPath | Mapping[str, Any] | TrainConfig | None, shards: Paths = (), overrides: Overrides = ()
) -> TrainConfig:
    """Read a config and apply the overrides.

    Raises:
        UsageError: The file cannot be read, or a key or value is wrong.
    """
    words = to_override_words(overrides)
    folders = to_paths(shards)
    if folders:
        words.append(f"shards={json.dumps([str(folder) for folder in folders])}")
    for word in words:
        key, _, reference = word.partition("=")
        if key.strip() == "student.custom_backbone":  # code is trusted where it is given by hand, never out of a file
            named = [os.environ.get(TRUSTED_BACKBONES, ""), reference.strip().strip("'\"")]
            os.environ[TRUSTED_BACKBONES] = ",".join(filter(None, named))
    if isinstance(config, TrainConfig):
        return load_config(TrainConfig, config.model_dump(mode="json"), words)
    if config is None or isinstance(config, Mapping):
        return load_config(TrainConfig, config or {}, words, name="" if config else "command line")
    return load_config(TrainConfig, Path(config), words)


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key of a config.

    Attributes:
        key: Dotted name, as overrides take it.
        type: Accepted values.
        default: Default value; empty where the key is required or filled from a preset.
        meaning: Description.
    """

    key: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ConfigKeys:
    """All keys of a config, in the order of the config classes."""

    keys: tuple[ConfigKey, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"keys": [asdict(key) for key in self.keys]}

    def to_text(self) -> str:
        """Format for a terminal: one line for each key, its meaning indented below."""
        lines = []
        for key in self.keys:
            lines.append(f"{key.key} = {key.default or '(required, or from the preset)'}   ({key.type})")
            lines += textwrap.wrap(key.meaning, 110, initial_indent="    ", subsequent_indent="    ")
        return "\n".join(lines)


def list_keys(kind: type[BaseModel] = TrainConfig) -> ConfigKeys:
    """List all keys of a config class, nested ones with dotted names."""
    return ConfigKeys(tuple(_keys(kind, "")))


def _keys(kind: type[BaseModel], prefix: str) -> Iterator[ConfigKey]:
    meanings = _attribute_docstrings(kind)
    for name, field in kind.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _keys(nested, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default is PydanticUndefined else _format_default(default)
        yield ConfigKey(f"{prefix}{name}", _format_type(field.annotation), shown, meanings.get(name, ""))


def _attribute_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """Strings below the attributes of a class, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed([one for one in kind.__mro__ if issubclass(one, BaseModel) and one is not BaseModel]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for statement, following in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def _format_type(annotation: Any) -> str:
    """Choices by their values, numbers and strings by their type names."""
    arguments = get_args(annotation)
    if not arguments:
        choices = [str(member) for member in annotation] if hasattr(annotation, "__members__") else []
        return " | ".join(choices) or ("null" if annotation is type(None) else getattr(annotation, "__name__", "any"))
    origin = getattr(annotation, "__origin__", None)
    if origin is tuple:
        inner = ", ".join(_format_type(argument) for argument in arguments if argument is not ...)
        return f"[{inner}{', ...' if ... in arguments else ''}]"
    if hasattr(annotation, "__metadata__"):
        return _format_type(origin)
    if all(isinstance(argument, str | int) and not isinstance(argument, type) for argument in arguments):
        return " | ".join(map(str, arguments))
    return " | ".join(_format_type(argument) for argument in arguments)


def _format_default(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or "''"
