"""A reference that answers each picture once: candidates are many, and the original is the slowest of all."""

from __future__ import annotations

import hashlib

from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners import Outputs, Runner


class Recorded(Runner):
    """Another runner's answers, kept by the bytes of the pictures.

    Attributes:
        original: The runner itself, which forgets.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.name, runner.engine, runner.spec, runner.threads, runner)
        self.original = runner
        self._answers: dict[bytes, Outputs] = {}

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        key = hashlib.blake2b(repr(images.shape).encode() + images.tobytes(), digest_size=16).digest()
        if key not in self._answers:
            self._answers[key] = self._loaded(images)
        return self._answers[key]
