"""Read numbered images (``frames/%06d.png``) as a video; a missing number leaves a gap in time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.images import decode_rgb
from distill.video.source import Frame, FrameSource

_PATTERN = re.compile(r"%(0\d+)?d")


def is_sequence(address: str) -> bool:
    """Whether an address is a pattern of numbered images, such as ``frames/%06d.png``."""
    return len(_PATTERN.findall(Path(address).name)) == 1


class ImageSequence(FrameSource):
    """Numbered images.

    `notes` holds the count of missing numbers; `fingerprint` is a digest of names, sizes and modification times.
    """

    def __init__(self, pattern: str, rate: Fraction = Fraction(25)) -> None:
        """List the images and read the first one.

        Raises:
            UsageError: No image matches the pattern, or the rate is not positive.
            DistillError: No image can be read.
        """
        if rate <= 0:
            raise UsageError(f"--rate {rate}: not a positive number", hint="give frames per second")
        folder, wanted = Path(pattern).parent, Path(pattern).name
        match = _PATTERN.search(wanted)
        before, after = wanted[: match.start()] if match else wanted, wanted[match.end() :] if match else ""
        digits = rf"(\d{{{int(match[1])},}})" if match and match[1] else r"(\d+)"
        name = re.compile(re.escape(before) + digits + re.escape(after))
        files = [(int(found[1]), file) for file in folder.glob("*") if (found := name.fullmatch(file.name))]
        if not files:
            raise UsageError(f"{pattern}: no image matches", hint="check folder and number of digits")
        self._files = sorted(files)
        self.name, self.rate, self.time_base = pattern, rate, 1 / rate
        self.size_hw = self._first_size_hw()
        self.num_frames = len(self._files)
        self.codec = self._files[0][1].suffix.lstrip(".").lower()
        missing = self._files[-1][0] - self._files[0][0] + 1 - len(self._files)
        self.notes = (f"{missing} numbers are missing between the first and the last image",) if missing else ()
        listed = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for _, file in self._files]
        self.fingerprint = hashlib.sha256(repr((str(folder.resolve()), listed, rate)).encode()).hexdigest()

    def frames(self, start: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Images from the `start`-th on, in the order of their numbers.

        Raises:
            DistillError: Images cannot be read or differ in size; raised after all others.
        """
        first, bad = self._files[0][0], list[DistillError]()
        for index, (number, file) in enumerate(self._files):
            try:
                rgb = self._read(file)
                self._check_size(rgb, file)
            except DistillError as error:
                bad.append(error)
                continue
            if index < start:
                continue  # read again, because a resumed job must name the bad ones before it, too
            if size_hw is not None and size_hw != self.size_hw:
                rgb = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
            pts = number - first
            seconds = float(pts * self.time_base)
            yield Frame(index, pts, seconds, rgb, seconds, 1)
        if bad:
            raise DistillError(
                f"{len(bad)} of {len(self._files)} images could not be used, the first one: {bad[0].message}",
                hint=bad[0].hint,
            )

    def _check_size(self, rgb: UInt8[ndarray, "h w 3"], file: Path) -> None:
        if rgb.shape[:2] != self.size_hw:
            raise DistillError(
                f"{file}: {rgb.shape[1]}x{rgb.shape[0]} px, the first image has {self.size_hw[1]}x{self.size_hw[0]} px",
                hint="use images of one size, or predict them as photos",
            )

    def _first_size_hw(self) -> tuple[int, int]:
        """Size of the first image that can be read."""
        failure: DistillError | None = None
        for _, file in self._files:
            try:
                first = self._read(file)
            except DistillError as error:
                failure = failure or error
                continue
            return first.shape[0], first.shape[1]
        raise failure or DistillError(f"{self.name}: no image can be read")

    def _read(self, file: Path) -> UInt8[ndarray, "h w 3"]:
        try:
            return decode_rgb(read_file(file), str(file))[0]
        except OSError as error:
            raise DistillError(f"{file}: cannot be read: {error.strerror}", hint="check the file") from error
