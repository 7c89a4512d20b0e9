"""Base class and loader of YAML configs: strict keys, dotted overrides, one sentence per error.

Configs are data: no value is executed, imported or evaluated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from distill.config.yaml_text import YamlTextError, parse_yaml
from distill.errors import UsageError
from distill.escaping import is_address
from distill.files import read_file


class Config(BaseModel):
    """Base class of all configs: frozen; unknown keys are an error."""

    # A wrong value may be a key in the wrong place, which a traceback would show.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_as_number(cls, value: Any, info: Any) -> Any:
        """Refuse true and false for a number, where pydantic would read 1 and 0."""
        members = value if isinstance(value, list | tuple) else (value,)
        words = set(re.findall(r"\w+", repr(cls.model_fields[str(info.field_name)].annotation)))
        if any(isinstance(member, bool) for member in members) and words & {"int", "float"} and "bool" not in words:
            raise ValueError("true and false are not numbers")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _reject_addresses(cls, value: Any) -> Any:
        """Refuse the address of another machine for a path; it may hold a password, which would be stored."""
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and is_address(str(path)) and not Path(path.parts[0]).exists():
                raise ValueError("is an address, and files are read from this machine only")
        return value


Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
ConfigType = TypeVar("ConfigType", bound=BaseModel)
_MAX_BYTES = 64 * 1024 * 1024
_MAX_MESSAGE = 500
"""Characters of one error, which may quote a value."""


def load_config(
    kind: type[ConfigType], source: Path | Mapping[str, Any], overrides: Iterable[str] = (), *, name: str = ""
) -> ConfigType:
    """Load a config from a YAML file or a mapping.

    Args:
        kind: Class of the config.
        source: File or values.
        overrides: ``dotted.key=value``, with the value in YAML.
        name: Name of the source in error messages.

    Raises:
        UsageError: Unreadable, not a mapping, an unknown key (names the nearest known one), or a wrong value.
    """
    if isinstance(source, Path):
        name = name or str(source)
        values = read_yaml(source)
    else:
        name = name or "config"
        values = _deep_copy(source)
    for override in overrides:
        _apply_override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(_format_errors(name, kind, error), hint="fix the config or the override") from error


def dump_config(config: BaseModel) -> str:
    """Format a resolved config as YAML; loading it gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file as a mapping, without checking its keys.

    Raises:
        UsageError: Unreadable, not YAML, or not a mapping.
    """
    try:
        values = parse_yaml(read_file(path, _MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", hint="give the path of a YAML config") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not valid YAML: {error}", hint="save it as UTF-8") from error
    except YamlTextError as error:
        line = f", line {error.line}" if error.line else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a config is a mapping of keys to values, this is a {type(values).__name__}")
    return values


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _apply_override(values: dict[str, Any], override: str) -> None:
    """Set a dotted key in place."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise UsageError(f"override {override!r} is not of the form key.sub=value")
    try:
        value = parse_yaml(text)
    except YamlTextError as error:
        raise UsageError(f"override {override!r}: the value is not valid YAML: {error.problem}") from error
    *parents, last = dotted.strip().split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UsageError(f"override {override!r}: {parent!r} is a value, not a group of keys")
        values = inner
    values[last] = value


def _format_errors(name: str, kind: type[BaseModel], error: ValidationError) -> str:
    """Format pydantic's errors with dotted keys and the nearest known key for an unknown one."""
    parts = []
    for found in error.errors()[:5]:
        dotted = ".".join(str(part) for part in found["loc"])
        if found["type"] == "extra_forbidden":
            near = _closest_key(kind, [str(part) for part in found["loc"]])
            parts.append(f"unknown key {dotted!r}" + (f"; did you mean {near!r}?" if near else ""))
        else:
            message = found["msg"].removeprefix("Value error, ")
            shown = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]} ..."
            parts.append(f"{dotted[:_MAX_MESSAGE] or 'config'}: {shown}")
    return f"{name}: " + "; ".join(parts)


def _closest_key(kind: type[BaseModel], location: list[str]) -> str | None:
    """Known key of the config type, at any depth, that is closest to an unknown key."""
    known = sorted(_known_keys(kind, set()))
    match = difflib.get_close_matches(location[-1], known, n=1)
    return match[0] if match else None


def _known_keys(kind: Any, seen: set[Any]) -> set[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind in seen:
            return set()
        seen.add(kind)
        keys = set(kind.model_fields)
        for field in kind.model_fields.values():
            keys |= _known_keys(field.annotation, seen)
        return keys
    found: set[str] = set()
    for argument in getattr(kind, "__args__", ()):
        found |= _known_keys(argument, seen)
    return found
