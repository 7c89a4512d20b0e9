"""Templates of paths: find their words in a path, and write a path with other words."""

from __future__ import annotations

import fnmatch
import glob
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distill.config.maps import TIME
from distill.errors import DistillError

_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"


@dataclass(frozen=True)
class MatchedPath:
    """A path that has the shape of a template.

    Attributes:
        base: The folder that the template starts in.
        words: What stands for its words.
    """

    base: Path
    words: Mapping[str, str]


def match_path(template: str, path: Path) -> MatchedPath | None:
    """The words of a template at the end of a path; None if it has another shape.

    A word stands for one part of the path or a piece of it; the same word twice stands for the same text.
    """
    shapes = template.replace("\\", "/").split("/")
    parts = path.parts[-len(shapes) :]
    if len(parts) < len(shapes) or len(path.parts) == len(shapes):
        return None
    words: dict[str, str] = {}
    # Part by part, since a search over all at once may take hours; those with the fewest words first, as they leave
    # the least open.
    for shape, part in sorted(zip(shapes, parts, strict=True), key=lambda pair: pair[0].count("{")):
        found = re.fullmatch(_expression(shape, words), part)
        if found is None:
            return None
        words |= found.groupdict()
    return MatchedPath(Path(*path.parts[: -len(shapes)]), words)


def _expression(shape: str, known: Mapping[str, str]) -> str:
    expression, seen = [], set[str]()
    for literal, word, _, _ in string.Formatter().parse(shape):
        expression.append(re.escape(literal))
        if word is None:
            continue
        if word in known:
            expression.append(re.escape(known[word]))
        elif word in seen:
            expression.append(f"(?P={word})")
        else:
            expression.append(f"(?P<{word}>{_NUMBER if word == TIME else '.+?'})")
        seen.add(word)
    return "".join(expression)


class FolderListing:
    """Names of the files of folders, each read once as long as it does not change."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._names: dict[Path, tuple[int, list[str]]] = {}

    def names(self, folder: Path) -> list[str]:
        """Sorted names; none if there is no such folder."""
        try:
            changed = folder.stat().st_mtime_ns
            if folder not in self._names or self._names[folder][0] != changed:
                self._names[folder] = (changed, sorted(one.name for one in folder.iterdir()))
        except OSError:
            return []
        return self._names[folder][1]

    def only(self, folder: Path, name: str, words: Mapping[str, str]) -> Path:
        """The one file whose name fits ``*``; the name as it is if none fits.

        Raises:
            DistillError: Several fit.
        """
        pattern = glob.escape(name.replace("*", "\0")).replace("\0", "*")
        shape = pattern.format(**{word: glob.escape(text) for word, text in words.items()})
        found = [one for one in self.names(folder) if fnmatch.fnmatchcase(one, shape)]
        if len(found) > 1:
            raise DistillError(
                f"{folder}: {len(found)} files fit {name}, such as {found[0]} and {found[1]}",
                hint="write a pattern that fits one file per photo",
            )
        return folder / found[0] if found else folder / name

    def nearest(self, folder: Path, name: str, words: Mapping[str, str], max_time_s: float) -> Path:
        """The file whose time is the nearest to that of the photo; the name with the photo's time if none is near."""
        before, _, after = name.partition(f"{{{TIME}}}")
        start, end = before.format(**words), after.format(**words)
        shape = re.compile(f"{re.escape(start)}({_NUMBER}){re.escape(end)}")
        wanted = float(words[TIME])
        times = [(abs(float(found[1]) - wanted), one) for one in self.names(folder) if (found := shape.fullmatch(one))]
        distance, nearest = min(times, default=(float("inf"), ""))
        return folder / (nearest if distance <= max_time_s else f"{start}{words[TIME]}{end}")
