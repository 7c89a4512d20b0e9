"""Students in TensorRT engines. Not run so far: written against the documented API of 10.16 and 11.4."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner
from distill.export.tensorrt_kit.cuda import KitError
from distill.export.tensorrt_kit.engine import Engine
from distill.spec import parse_spec


class TensorRtRunner(Runner):
    """An ``.engine`` file with its ``.engine.json`` in the same folder."""

    def __init__(
        self, path: Path, *, threads: int | None = None, allow_spinning: bool = True, device: str = "cuda"
    ) -> None:
        """Load the file.

        Args:
            path: Built by a kit of ``distill export --to tensorrt``.
            threads: No effect.
            allow_spinning: No effect.
            device: ``cuda``.

        Raises:
            DistillError: No TensorRT, no GPU, another GPU or version, or a damaged file.
        """
        try:
            engine = Engine(path)
        except KitError as error:
            raise DistillError(str(error)) from error
        spec = parse_spec(json.dumps(engine.facts["spec"]), str(path))
        super().__init__(path.name, "tensorrt", spec, 1, engine)
        self._lock = threading.Lock()

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        try:
            with self._lock:  # one execution context
                found = self._loaded.run(images)
        except KitError as error:
            raise DistillError(f"{self.name}: {error}") from error
        return {name: found[name] for name in self.spec.output_names}

    def close(self) -> None:
        """Release the engine and its memory."""
        if self._loaded is not None:
            self._loaded.close()
        super().close()
