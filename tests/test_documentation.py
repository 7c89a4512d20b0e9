"""Documentation against the code: generated parts, links, commands, flags and config keys.

``python -m tests.test_documentation`` rewrites the generated parts of ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

import pytest
import typer
import yaml
from click import ClickException
from pydantic import BaseModel, ValidationError

import distill
from distill.cli import VERBS
from distill.config.base import Config
from distill.config.export import TargetConfig
from distill.config.teacher_base import OutputConfig
from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.teachers.kinds import KINDS
from distill.teachers.tuning.config import TuningConfig
from distill.workflows.teachers.load import load_teacher

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "configs/README.md"])
HISTORY = {"CHANGELOG.md", "log.md"}
"""Pages that name removed keys."""


def page_id(page: Path) -> str:
    """Path of a page as test id."""
    return str(page.relative_to(ROOT))


def layers() -> str:
    """Layers of the import-linter contract, highest first."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    lines = [re.sub(r"\bdistill\.", "", layer) for layer in contract["layers"]]
    return "\n".join(["```text", *lines, "```"])


def package_tree() -> str:
    """Packages with their purpose and modules."""
    lines = ["| package | purpose | modules |", "|---|---|---|"]
    for path in sorted((ROOT / "distill").rglob("__init__.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        purpose = docstring.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        modules = [module.stem for module in sorted(path.parent.glob("*.py")) if not module.stem.startswith("__")]
        package = ".".join(path.parent.relative_to(ROOT).parts)
        lines.append(f"| `{package}` | {purpose} | {', '.join(modules)} |")
    return "\n".join(lines)


GENERATED = {"layers": layers, "packages": package_tree}


def replace_generated(text: str) -> str:
    """A page with its generated parts written again."""
    for name, generate in GENERATED.items():
        before, rest = text.split(f"<!-- generated: {name} -->\n")
        _, after = rest.split("\n<!-- end -->", 1)
        text = f"{before}<!-- generated: {name} -->\n{generate()}\n<!-- end -->{after}"
    return text


def test_generated_parts_of_the_architecture_are_current() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert text == replace_generated(text), "run: python -m tests.test_documentation"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands_in(text: str) -> Iterator[list[str]]:
    """Arguments of every ``distill VERB`` line in an indented or fenced block."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in text.splitlines():
        match = re.match(r"(?:    |\t|)(?:[A-Z_]+=\S+ )?distill (data [a-z-]+|\w+)\b(.*)", line)
        if match and match[1].split()[0] in VERBS:
            yield [match[1], *shlex.split(match[2], comments=True)]


def command_of(verb: str) -> Any:
    """The command of a verb, or of ``VERB SUB-COMMAND``, as the command line parses it."""
    verb, _, name = verb.partition(" ")
    found = getattr(importlib.import_module(f"distill.commands.{verb}"), verb)
    if isinstance(found, typer.Typer):
        group: Any = typer.main.get_command(found)
        return group.commands[name] if name else group
    app = typer.Typer()
    app.command()(found)
    return typer.main.get_command(app)


def options_of(verb: str) -> set[str]:
    """Option names of a verb."""
    return {name for parameter in command_of(verb).params for name in (*parameter.opts, *parameter.secondary_opts)}


def has_key(config: type[BaseModel], dotted: str) -> bool:
    """Whether a dotted key names a field of a config class."""
    first, _, rest = dotted.partition(".")
    if first not in config.model_fields:
        return False
    inner = config.model_fields[first].annotation
    return not rest or (is_config(inner) and has_key(inner, rest))


def is_config(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a type is a config class."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_documented_commands_have_their_flags_and_keys(page: Path) -> None:
    for verb, *words in commands_in(page.read_text()):
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= options_of(verb), f"{page.name}: distill {verb}: {sorted(flags - options_of(verb))}"
        if verb == "train":
            keys = [word.partition("=")[0] for word in words if re.match(r"[a-z_.]+=", word)]
            unknown = [key for key in keys if not has_key(TrainConfig, key)]
            assert not unknown, f"{page.name}: distill train: {unknown}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=page_id)
def test_documented_commands_are_parsed(page: Path) -> None:
    """By the parser of the command line: positional arguments, values of options, choices."""
    for verb, *words in commands_in(page.read_text()):
        command = command_of(verb)
        given = [re.sub(r"\$\w+|\$\(.*?\)", "1", word) for word in words if word not in ("[...]", "...")]
        until = next((index for index, word in enumerate(given) if word in ("&&", "|", ">", "&")), len(given))
        try:
            command.make_context(verb, given[:until])
        except ClickException as error:
            pytest.fail(f"{page.name}: distill {verb} {' '.join(words)}: {error.format_message()}")


def blocks_in(text: str) -> Iterator[str]:
    """Indented and fenced blocks, without their indent."""
    text = re.sub(r"```\w*\n(.*?)```", lambda match: "\n" + re.sub("(?m)^", "    ", match[1]) + "\n", text, flags=re.S)
    for block in re.findall(r"(?:^    .*\n?)+", text, re.M):
        yield re.sub(r"(?m)^    ", "", block)


def configs_in(text: str) -> Iterator[str]:
    """Blocks that start like a YAML mapping with the key of a config."""
    for block in blocks_in(text):
        first = next((line for line in block.splitlines() if line.strip() and not line.startswith("#")), "")
        if re.match(r"[a-z_]+:( |$)", first):
            yield block


def problem_of(block: str) -> str:
    """Why a YAML block of a page is no (part of a) config; empty if it is."""
    try:
        values = yaml.safe_load(block)
    except yaml.YAMLError as error:
        return f"not YAML: {error}"
    configs: list[type[Config]] = [kind.config for kind in KINDS.values()]
    if values.get("kind") == "ensemble":  # its members are files
        with TemporaryDirectory() as folder:
            for path in ROOT.glob("configs/teachers/*.yaml"):
                Path(folder, path.name).symlink_to(path)
            Path(folder, "page.yaml").write_text(block)
            try:
                load_teacher(Path(folder, "page.yaml"))
            except DistillError as error:
                return str(error)
        return ""
    if "kind" in values:
        configs = [KINDS[values["kind"]].config]
    else:
        configs += [TrainConfig, TargetConfig, OutputConfig, TuningConfig]
    problems = []
    for config in configs:
        try:
            config.model_validate(values)
        except ValidationError as error:
            # A page shows the part of a config that it is about.
            faults = [fault for fault in error.errors() if fault["type"] != "missing"]
            if not faults:
                return ""
            problems.append(f"{config.__name__}: {faults[0]['loc']}: {faults[0]['msg']}")
        else:
            return ""
    return "; ".join(problems)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=page_id)
def test_configs_of_the_documentation_are_valid(page: Path) -> None:
    for block in configs_in(page.read_text()):
        assert not problem_of(block), f"{page.name}: {problem_of(block)}\n{block}"


def test_a_wrong_config_would_be_found() -> None:
    found = list(configs_in("Text\n\n    kind: maps\n    depth: {pattern: a}\n\n```yaml\nkind: onnx\n```\n"))
    assert [block.splitlines()[0] for block in found] == ["kind: maps", "kind: onnx"]
    assert "not YAML" in problem_of("kind: maps\ndepth: {pattern: ../{stem}.png}\n")
    assert "depht" in problem_of("kind: maps\ndepht: {pattern: a.png}\n")
    assert problem_of("kind: ensemble\ndepth: {strategy: fuse, teachers: [no_such_file.yaml]}\n")
    assert problem_of("no_such_key: 1\n") and not problem_of("kind: maps\ndepth: {pattern: a.png}\n")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=page_id)
def test_documented_training_keys_exist(page: Path) -> None:
    """Inline code such as ``loss.trim_fraction=0.1``."""
    sections = [name for name, field in TrainConfig.model_fields.items() if is_config(field.annotation)]
    pattern = rf"`((?:{'|'.join(sections)})\.[a-z_.]+)(?:=[^`]*)?`"
    keys = {
        key for key in re.findall(pattern, page.read_text()) if not key.endswith((".py", ".yaml", ".json", ".html"))
    }
    assert not sorted(key for key in keys if not has_key(TrainConfig, key)), page.name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_use_the_arguments_of_the_api(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        for call in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            if name.removeprefix("distill.") in distill.__all__:
                function = getattr(distill, name.removeprefix("distill."))
                parameters = inspect.signature(function).parameters
                unknown = {keyword.arg for keyword in call.keywords} - set(parameters)
                assert not unknown, f"{page.name}: {name}: {sorted(map(str, unknown))}"


def test_a_wrong_flag_and_a_wrong_key_would_be_found() -> None:
    (words,) = commands_in("    distill train --shards a --no-such-flag x student.no_such_key=1  # comment")
    assert words == ["train", "--shards", "a", "--no-such-flag", "x", "student.no_such_key=1"]
    assert "--no-such-flag" not in options_of("train") and "--shards" in options_of("train")
    assert has_key(TrainConfig, "student.preset") and not has_key(TrainConfig, "student.no_such_key")


if __name__ == "__main__":
    architecture = ROOT / "ARCHITECTURE.md"
    architecture.write_text(replace_generated(architecture.read_text()))
