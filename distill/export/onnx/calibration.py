"""Value ranges of a graph over calibration images, measured by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import onnx
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.onnx.graph import silenced
from distill.export.runners.base import first_line

Method = Literal["minmax", "entropy", "percentile"]

_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


def calibrate_ranges(
    proto: Any, images: Iterable[UInt8[ndarray, "1 h w 3"]], ops: Collection[str], method: Method, folder: Path
) -> Any:
    """Ranges of all inputs and outputs of these operators, as ONNX Runtime's calibrator returns them.

    Raises:
        DistillError: No images, or ONNX Runtime cannot calibrate.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    name = proto.graph.input[0].name
    source: Iterator[UInt8[ndarray, "1 h w 3"]] = iter(images)

    class Reader(CalibrationDataReader):
        count = 0

        def get_next(self) -> dict[str, ndarray] | None:
            image = next(source, None)
            self.count += image is not None
            return None if image is None else {name: image}

    reader = Reader()
    path = folder / "float.onnx"
    onnx.save(proto, path)
    try:
        with silenced():
            calibrator = create_calibrator(
                path,
                list(ops),
                augmented_model_path=str(folder / "augmented.onnx"),
                calibrate_method=CalibrationMethod[_METHODS[method]],
                providers=["CPUExecutionProvider"],
            )
            calibrator.collect_data(reader)
            return calibrator.compute_data()
    except Exception as error:  # ValueError without data, ONNX Runtime's own otherwise
        if not reader.count:
            raise DistillError(
                "int8 and fp8 need images for calibration, and there are none", hint="give --images"
            ) from error
        raise DistillError(
            f"calibration failed: {first_line(error)}", hint="use calibration_method: minmax in the target's YAML file"
        ) from error
