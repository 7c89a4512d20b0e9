"""Shape annotations are checked at run time: ``make test`` runs unit tests of arrays under the import hook."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

WRONG_SHAPE = """
    import contextlib, sys
    import numpy as np
    from jaxtyping import install_import_hook

    hook = install_import_hook("distill", "beartype.beartype") if sys.argv[1] == "hooked" else contextlib.nullcontext()
    with hook:
        from distill.metrics.normals import angular_error_deg
    try:
        angular_error_deg(np.ones((2, 3, 3)), np.ones((3, 2, 3)), np.ones((2, 3), bool))
    except Exception as error:
        print(type(error).__name__)
"""


def error_of_a_wrong_shape(mode: str) -> str:
    code = textwrap.dedent(WRONG_SHAPE)
    return subprocess.run([sys.executable, "-c", code, mode], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("mode", "error"), [("hooked", "TypeCheckError"), ("plain", "ValueError")])
def test_a_wrong_shape_is_caught_under_the_hook(mode: str, error: str) -> None:
    assert error_of_a_wrong_shape(mode) == error
