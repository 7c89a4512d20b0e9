"""The house stands: floors, doors, start-up, packages, configs, documentation; guards are shown to be able to fail."""

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

HEAVY = ("torch", "timm", "lightning", "onnxruntime", "onnx", "cv2", "webdataset", "av")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a statement brings in, in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    return set(filter(None, run_python(code).split(",")))


def test_importing_distill_brings_in_nothing_heavy():
    assert loaded_by("import distill, distill.cli") == set()


def test_the_guard_sees_a_heavy_import():
    assert loaded_by("import cv2") == {"cv2"}


def test_help_brings_in_nothing_heavy():
    statement = """
        import sys, io, contextlib
        sys.argv = ["distill", "--help"]
        from distill.cli import app
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            app(standalone_mode=False)
    """
    assert loaded_by(textwrap.dedent(statement)) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_needs_no_torch(verb: str):
    code = f"""
        import sys, io, contextlib
        sys.argv = ["distill", {verb!r}, "--help"]
        from distill.cli import app
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            try:
                app(standalone_mode=False)
            except SystemExit:
                pass
        print("torch" in sys.modules, "Usage" in text.getvalue())
    """
    assert run_python(code) == "False True"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str, repository: Path):
    assert f"distill {verb}" in (repository / "README.md").read_text()


def lint_imports(repository: Path, config: Path) -> subprocess.CompletedProcess[str]:
    lint = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(lint), "--config", str(config), "--no-cache"], cwd=repository, capture_output=True, text=True, check=False
    )


def test_floors_hold(repository: Path):
    done = lint_imports(repository, repository / "pyproject.toml")
    assert done.returncode == 0, done.stdout


def test_the_floors_test_can_fail(repository: Path, tmp_path: Path):
    """Upside down, the same layering must break."""
    config = (repository / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[\n(.*?)\n\]", config, re.DOTALL)
    assert layers is not None
    lines = layers.group(1).split("\n")
    upside_down = tmp_path / "pyproject.toml"
    upside_down.write_text(config.replace(layers.group(1), "\n".join(reversed(lines))))
    assert lint_imports(repository, upside_down).returncode != 0


@pytest.mark.parametrize("door", ["teachers", "students", "export"])
def test_doors_are_relative_links_into_the_package(door: str, repository: Path):
    path = repository / door
    assert path.is_symlink()
    assert str(path.readlink()) == f"distill/{door}"
    assert (path / "__init__.py").is_file()


def test_nothing_imports_through_a_door_or_the_package_root(repository: Path):
    bad = re.compile(r"^\s*(from|import) (teachers|students|export)\b|^import distill$", re.MULTILINE)
    assert bad.search("from teachers import base")  # the pattern can match
    offenders = [str(p) for p in (repository / "distill").rglob("*.py") if bad.search(p.read_text())]
    assert offenders == []


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_no_door(repository: Path, tmp_path: Path):
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
    assert "distill" in names
    assert not names & {"teachers", "students", "export"}


def test_no_file_is_a_drawer(repository: Path):
    drawers = [
        p for p in (repository / "distill").rglob("*.py") if re.match(r"(utils?|helpers?|common|misc)\b", p.stem)
    ]
    assert drawers == []


def teacher_configs() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[1] / "configs" / "teachers").glob("*.yaml"))


@pytest.mark.parametrize("path", teacher_configs(), ids=lambda path: path.stem)
def test_every_teacher_config_loads(path: Path):
    from distill.workflows.teachers import load_teacher

    kind = read_yaml(path).get("kind", "")
    # A function comes from the command line, never out of a file.
    config, _ = load_teacher(path, overrides=["function=package.module:function"] if kind == "callable" else [])
    assert config.kind == kind


@pytest.mark.parametrize("path", teacher_configs(), ids=lambda path: path.stem)
def test_every_teacher_config_states_a_license_and_its_terms(path: Path):
    from distill.workflows.teachers import load_teacher
    from distill.licenses import LicenseClass, license_class

    config, _ = load_teacher(path, overrides=["function=a:b"] if read_yaml(path)["kind"] == "callable" else [])
    if config.kind == "mix":  # its members state their own
        return
    told = license_class(config.license) is not LicenseClass.UNKNOWN or config.license == "unknown"
    assert told, f"{path.name}: {config.license} is not a known name; put its class in front"
    assert config.terms, f"{path.name}: a link to the terms"


def test_an_unknown_key_names_the_nearest_known_one():
    from distill.config.adapters import ReplayConfig

    with pytest.raises(UsageError, match=r"unknown key 'licens'.*did you mean 'license'"):
        load_config(ReplayConfig, {"answers": "a.yaml"}, ["licens=x"])


def test_errors_keep_their_hint_across_processes():
    import pickle

    error = pickle.loads(pickle.dumps(UsageError("a: wrong", hint="do b")))
    assert isinstance(error, UsageError)
    assert (error.message, error.hint, error.exit_code) == ("a: wrong", "do b", 2)
    assert str(DistillError("a")) == "a"
