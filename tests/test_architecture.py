"""Layers, symlinks, start-up, packages, sizes, words, configs; every rule is shown to be able to fail."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from distill.cli import VERBS
from distill.config import load_config, read_yaml
from distill.errors import DistillError, UsageError
from tests.source_rules import (
    banned_words,
    crowded_folders,
    import_cycles,
    import_graph,
    layers_of,
    mirrored_module,
    modules_of,
    num_lines,
    percentile_90,
    within_layer,
)

HEAVY = ("torch", "timm", "lightning", "onnxruntime", "onnx", "cv2", "webdataset", "av")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a statement brings in, in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    return set(filter(None, run_python(code).split(",")))


def test_importing_distill_imports_no_heavy_package() -> None:
    assert loaded_by("import distill, distill.cli") == set()


def test_the_start_up_rule_can_fail() -> None:
    assert loaded_by("import cv2") == {"cv2"}


def test_help_imports_no_heavy_package() -> None:
    statement = """
        import sys, io, contextlib
        sys.argv = ["distill", "--help"]
        from distill.cli import app
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            app(standalone_mode=False)
    """
    assert loaded_by(textwrap.dedent(statement)) == set()


def test_help_of_every_verb_imports_no_torch() -> None:
    code = f"""
        import sys, io, contextlib
        from distill.cli import app
        for verb in {VERBS!r}:
            sys.argv = ["distill", verb, "--help"]
            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
                app(standalone_mode=False)
            print(verb, "torch" in sys.modules, "Usage" in text.getvalue())
    """
    assert run_python(code).splitlines() == [f"{verb} False True" for verb in VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str, repository: Path) -> None:
    assert f"distill {verb}" in (repository / "README.md").read_text()


def lint_imports(repository: Path, config: Path) -> subprocess.CompletedProcess[str]:
    lint = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(lint), "--config", str(config), "--no-cache"], cwd=repository, capture_output=True, text=True, check=False
    )


def test_modules_import_only_from_lower_layers(repository: Path) -> None:
    done = lint_imports(repository, repository / "pyproject.toml")
    assert done.returncode == 0, done.stdout


def test_the_layer_rule_can_fail(repository: Path, tmp_path: Path) -> None:
    """The same layers upside down do not hold."""
    config = (repository / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[\n(.*?)\n\]", config, re.DOTALL)
    assert layers is not None
    lines = layers.group(1).split("\n")
    upside_down = tmp_path / "pyproject.toml"
    upside_down.write_text(config.replace(layers.group(1), "\n".join(reversed(lines))))
    assert lint_imports(repository, upside_down).returncode != 0


@pytest.mark.parametrize("name", ["teachers", "students", "export"])
def test_root_folders_are_relative_symlinks(name: str, repository: Path) -> None:
    path = repository / name
    assert path.is_symlink()
    assert str(path.readlink()) == f"distill/{name}"
    assert (path / "__init__.py").is_file()


def test_no_import_goes_through_a_symlink_or_the_package_root(repository: Path) -> None:
    bad = re.compile(r"^\s*(from|import) (teachers|students|export)\b|^import distill$", re.MULTILINE)
    assert bad.search("from teachers import base")  # the pattern can match
    offenders = [str(p) for p in (repository / "distill").rglob("*.py") if bad.search(p.read_text())]
    assert offenders == []


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_no_symlink(repository: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(repository)],
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"distill"}
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        names = {member.name.split("/")[1] for member in sdist.getmembers() if "/" in member.name}
    assert {"distill", "tests", "docs", "configs", "benchmarks"} <= names
    assert not names & {"teachers", "students", "export"}


def test_no_module_is_called_utils_or_helpers(repository: Path) -> None:
    catch_all = [
        p for p in (repository / "distill").rglob("*.py") if re.match(r"(utils?|helpers?|common|misc)\b", p.stem)
    ]
    assert catch_all == []


ALLOWED_WORDS = {
    "configs/teachers": ("floor", "door", "house", "painting"),  # classes of NYU and ADE20K
    "distill/teachers/synthetic": ("floor", "room", "door", "DOOR", "door_material"),  # what the scenes show
    "distill/export/targets/op_rules": ("Floor",),  # the ONNX operator
    "distill/teachers/prompts": ("painted",),  # a word of published prompts
}
"""Banned words that name a thing in these folders."""


def found_words(folder: Path) -> list[str]:
    """Banned words below a folder or in one file, with file and line."""
    repository, found = Path(__file__).parents[1], []
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in (path for path in paths if path.suffix in {".py", ".md", ".yaml", ".cpp"}):
        name = str(path.relative_to(repository))
        allowed = [word for start, words in ALLOWED_WORDS.items() if name.startswith(start) for word in words]
        found += [f"{name}:{line} {word}" for line, word in banned_words(path.read_text(), allowed)]
    return found


@pytest.mark.parametrize("name", ["distill", "docs", "configs", "README.md"])
def test_no_banned_word(name: str, repository: Path) -> None:
    assert found_words(repository / name) == []


@pytest.mark.parametrize("word", ["Nobody", "asked", "painters", "beside", "gauge", "lies", "doubtful", "floor"])
def test_the_word_rule_can_fail(word: str) -> None:
    assert banned_words(f"first\nThen {word}.") == [(2, word)]


@pytest.mark.parametrize("text", ["math.floor(x)", "np.floor(x)", "task, mask", "underlie", "alienate", "besides"])
def test_the_word_rule_passes_other_words(text: str) -> None:
    assert banned_words(text) == []


def test_no_folder_holds_more_than_14_modules(repository: Path) -> None:
    assert crowded_folders(repository / "distill", 14) == {}


def test_nine_of_ten_modules_have_at_most_250_lines(repository: Path) -> None:
    paths = modules_of(repository / "distill").values()
    assert percentile_90(num_lines(path) for path in paths if path.name != "__init__.py") <= 250


def test_at_most_15_modules_have_less_than_40_lines(repository: Path) -> None:
    short = [
        name
        for name, path in modules_of(repository / "distill").items()
        if path.name != "__init__.py" and num_lines(path) < 40
    ]
    assert len(short) <= 15, short


def test_the_size_rules_can_fail(tmp_path: Path) -> None:
    folder = tmp_path / "package" / "crowded"
    folder.mkdir(parents=True)
    for number in range(15):
        (folder / f"m{number}.py").write_text("x = 1\n" * 300)
    (folder / "__init__.py").touch()
    assert crowded_folders(tmp_path / "package", 14) == {"package/crowded": 15}
    assert crowded_folders(tmp_path / "package", 15) == {}
    paths = [path for path in modules_of(tmp_path / "package").values() if path.name != "__init__.py"]
    assert [num_lines(path) for path in paths] == [300] * 15
    assert percentile_90([10] * 8 + [300] * 2) == 300 and percentile_90([10] * 19 + [300]) == 10


def test_no_layer_has_an_import_cycle(repository: Path) -> None:
    """Late imports count: two modules that need each other are one."""
    graph = import_graph(modules_of(repository / "distill"))
    layers = layers_of((repository / "pyproject.toml").read_text())
    assert len(layers) > 5
    assert [cycle for layer in layers for cycle in import_cycles(within_layer(graph, layer))] == []


def test_the_cycle_rule_can_fail(tmp_path: Path) -> None:
    package = tmp_path / "p"
    package.mkdir()
    sources = {
        "__init__": "",
        "a": "from p import b",
        "b": "def late():\n    from p.c import x",
        "c": "import p.a\nx = 1",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import e",
        "e": "from p import d",
    }
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source + "\n")
    graph = import_graph(modules_of(package))
    assert import_cycles(graph) == [["p.a", "p.b", "p.c"]]
    assert import_cycles(within_layer(graph, {"p.a", "p.b"})) == []


UNMIRRORED = {
    "hostile/test_corpus.py",
    "hostile/test_foreign_folders.py",
    "hostile/test_fuzz.py",
    "hostile/test_secrets.py",
    "test_architecture.py",
    "test_documentation.py",
    "test_examples.py",
    "test_public_layouts.py",
    "test_readme.py",
    "test_task_switches.py",
    "test_tutorials.py",
}
UNMIRRORED |= {
    "test_shape_checks.py",
    "workflows/test_api.py",
    "teachers/tasks/test_tasks.py",
    "export/targets/test_new_engine.py",
}
"""Tests of the repository or of a package as a whole."""


def test_tests_mirror_the_modules(repository: Path) -> None:
    tests, names = repository / "tests", modules_of(repository / "distill")
    without = [
        str(path.relative_to(tests))
        for path in sorted(tests.rglob("test_*.py"))
        if mirrored_module(path, tests, names) is None
    ]
    assert sorted(set(without) - UNMIRRORED) == []


def test_the_mirror_rule_can_fail(repository: Path) -> None:
    tests, names = repository / "tests", modules_of(repository / "distill")
    assert mirrored_module(tests / "runtime" / "test_sqlite.py", tests, names) == "distill.runtime.sqlite"
    assert mirrored_module(tests / "runtime" / "test_sqlite_locks.py", tests, names) == "distill.runtime.sqlite"
    assert mirrored_module(tests / "test_runtime.py", tests, names) == "distill.runtime"
    assert mirrored_module(tests / "runtime" / "test_house.py", tests, names) is None
    assert mirrored_module(tests / "test_sqlite.py", tests, names) is None


def test_no_test_imports_a_test_or_changes_the_import_path(repository: Path) -> None:
    bad = re.compile(r"^\s*(?:from|import) (?:tests\.(?:\w+\.)*)?(?:test_\w+|conftest)\b|sys\.path\.", re.MULTILINE)
    assert bad.search("from tests.a.test_b import c") and bad.search("from conftest import d")  # the pattern can match
    paths = (path for path in (repository / "tests").rglob("*.py") if path.name != Path(__file__).name)
    assert [str(path) for path in paths if bad.search(path.read_text())] == []


def teacher_configs() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[1] / "configs" / "teachers").glob("*.yaml"))


@pytest.mark.parametrize("path", teacher_configs(), ids=lambda path: path.stem)
def test_every_teacher_config_loads(path: Path) -> None:
    from distill.workflows.teachers.load import load_teacher

    kind = read_yaml(path).get("kind", "")
    # A function comes from the command line, never out of a file.
    config, _ = load_teacher(path, overrides=["function=package.module:function"] if kind == "callable" else [])
    assert config.kind == kind


@pytest.mark.parametrize("path", teacher_configs(), ids=lambda path: path.stem)
def test_every_teacher_config_states_a_license_and_its_terms(path: Path) -> None:
    from distill.licenses import LicenseClass, license_class
    from distill.workflows.teachers.load import load_teacher

    config, _ = load_teacher(path, overrides=["function=a:b"] if read_yaml(path)["kind"] == "callable" else [])
    if config.kind == "ensemble":  # its members state their own
        return
    known = license_class(config.license) is not LicenseClass.UNKNOWN or config.license == "unknown"
    assert known, f"{path.name}: {config.license} is not a known name; put its class in front"
    assert config.terms, f"{path.name}: a link to the terms"


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    from distill.config.adapters import ReplayConfig

    with pytest.raises(UsageError, match=r"unknown key 'licens'.*did you mean 'license'"):
        load_config(ReplayConfig, {"answers": "a.yaml"}, ["licens=x"])


def test_errors_keep_their_hint_across_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UsageError("a: wrong", hint="do b")))
    assert isinstance(error, UsageError)
    assert (error.message, error.hint, error.exit_code) == ("a: wrong", "do b", 2)
    assert str(DistillError("a")) == "a"
