"""Surface normals as color, and back.

Frame of labels: x right, y up, z out of the image toward the camera. The name of a frame gives the signed axis of red,
green and blue in the frame of labels; each channel is ``(1 + component) / 2``.
"""

from __future__ import annotations

import functools
import re

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import Task

FRAMES = {
    "vision_banana": "-x+y+z",  # the paper: R = (1 - x) / 2, so a surface that faces left is pinkish red
    "dsine": "-x+y+z",  # x LEFT, y up, z toward the camera: the same colors
    "marigold": "+x+y+z",
    "opengl": "+x+y+z",
    "opencv": "+x-y-z",  # x right, y down, z forward
    "directx": "+x-y+z",
}
"""Named frames. Any other order is written out, such as ``+x+z-y``: red is x, green z, blue minus y."""

MIN_LENGTH = 0.8
MAX_LENGTH = 1.2
"""Range of lengths of a decoded unit vector: magenta sky has 1.7; 5 % to 95 % of the pixels of real images are within
0.72 to 1.14."""
CONFIDENCE_SIGMA = 0.1
"""Width of the Gaussian confidence over the error of the length."""


@functools.cache
def frame_matrix(frame: str) -> Float[ndarray, "3 3"]:
    """Signed permutation from the frame of labels to the three channels.

    Raises:
        UsageError: Neither a named frame nor three signed axes.
    """
    axes = re.findall(r"([+-])([xyz])", FRAMES.get(frame, frame))
    if "".join(map("".join, axes)) != FRAMES.get(frame, frame) or sorted(axis for _, axis in axes) != ["x", "y", "z"]:
        raise UsageError(
            f"unknown normals frame {frame!r}", hint=f"one of {', '.join(FRAMES)}, or three signed axes such as +x+z-y"
        )
    matrix = np.zeros((3, 3), np.float32)
    for channel, (sign, axis) in enumerate(axes):
        matrix[channel, "xyz".index(axis)] = -1 if sign == "-" else 1
    return matrix


def frame_name(matrix: Float[ndarray, "3 3"]) -> str:
    """Name of the frame with this signed permutation; the inverse of `frame_matrix`."""
    axes = [(int(np.argmax(np.abs(row))), row) for row in matrix]
    written = "".join(("-" if row[axis] < 0 else "+") + "xyz"[axis] for axis, row in axes)
    return next((name for name in ("opengl", "opencv", "directx", "dsine") if FRAMES[name] == written), written)


def encode_normals_rgb(normals: Float[ndarray, "h w 3"], frame: str = "vision_banana") -> UInt8[ndarray, "h w 3"]:
    """Generated image of unit vectors, in the colors of a frame."""
    held = normals @ frame_matrix(frame).T
    encoded: ndarray = np.clip(np.rint((1 + held) * 127.5), 0, 255).astype(np.uint8)
    return encoded


def decode_normals_rgb(generated: UInt8[ndarray, "h w 3"], frame: str = "vision_banana") -> Label:
    """Normals of a generated image, at the image's own size, in the frame of labels.

    Invalid where the decoded vector is shorter than 0.8 or longer than 1.2; the confidence falls with the error of the
    length.
    """
    axes = _axes(frame)
    value = np.empty(generated.shape, np.float32)
    valid = np.empty(generated.shape[:2], bool)
    confidence = np.empty(generated.shape[:2], np.float32)
    # Strips of 64 kilopixels stay in the second-level cache: twice as fast as whole images.
    rows = max(1, (1 << 16) // generated.shape[1])
    for top in range(0, generated.shape[0], rows):
        strip = slice(top, top + rows)
        channels = cv2.split(generated[strip])
        vector = [cv2.LUT(channels[channel], component) for channel, component in axes]
        length = cv2.sqrt(sum((cv2.multiply(part, part) for part in vector[1:]), cv2.multiply(vector[0], vector[0])))
        valid[strip] = cv2.inRange(length, MIN_LENGTH, MAX_LENGTH)
        inverse = 1 / length  # never of 0: every component is at least half a level away from it
        value[strip] = cv2.merge([cv2.multiply(part, inverse) for part in vector])
        error = (length - 1) * np.float32(0.5**0.5 / CONFIDENCE_SIGMA)
        trust = cv2.exp(-error * error)
        np.multiply(trust, valid[strip], out=confidence[strip])
    return Label(task=Task.NORMALS, value=value, valid=valid, confidence=confidence)


@functools.cache
def _axes(frame: str) -> list[tuple[int, Float[ndarray, " 256"]]]:
    """For x, y and z of labels: its channel, and the component for each of the channel's 256 values."""
    component = (np.arange(256) / 127.5 - 1).astype(np.float32)
    matrix = frame_matrix(frame)
    channels = [int(np.argmax(np.abs(matrix[:, axis]))) for axis in range(3)]
    return [(channel, component * matrix[channel, axis]) for axis, channel in enumerate(channels)]
