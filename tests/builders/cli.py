"""The command line in this process: most of what `distill` promises needs no process of its own."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from distill.console import run_cli


class Cli:
    """Run `distill ...` in this process: `cli(words)`, `cli.json(words)` or `cli.result(words)`."""

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        from distill.cli import app

        out, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setattr("sys.argv", ["distill", *map(str, words)])
            code = run_cli(app)
        return code, out.getvalue(), errors.getvalue()

    def json(self, *words: object) -> tuple[int, dict[str, Any]]:
        """(exit code, the one JSON object on standard output)."""
        code, out, _ = self(*words, "--json")
        return code, json.loads(out)

    def result(self, *words: object, code: int | None = 0) -> dict[str, Any]:
        """The JSON object of a call that ends with this exit code; None: with any."""
        found, out, errors = self(*words, "--json")
        assert code is None or found == code, errors + out
        return json.loads(out)


def distill(*words: object, code: int | None = 0) -> dict[str, Any]:
    """`Cli.result`, with one labeling process unless the words name a number: starting workers takes seconds."""
    if words[0] == "label" and "--workers" not in words:
        words = (*words, "--workers", 1)
    return Cli().result(*words, code=code)
