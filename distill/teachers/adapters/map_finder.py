"""Find the map of a photo: by a pattern of its path, or by a CSV of pairs."""

from __future__ import annotations

import csv
import difflib
import io
import os
import unicodedata
from collections import defaultdict
from itertools import islice
from pathlib import Path, PurePosixPath

from distill.config.adapters import MapConfig
from distill.errors import DistillError, UsageError
from distill.files import read_file

_LOOKED_AT = 2000
"""Files that are compared with a missing name."""
_ENCODINGS = ("utf-8-sig", "cp1252")
_FORMS = ("NFC", "NFD")


class MapFinder:
    """Finds the maps of one task."""

    def __init__(self, config: MapConfig, folder: Path) -> None:
        """Read the pairs, if there are any; `folder` is the config's.

        Raises:
            UsageError: The CSV is not readable.
        """
        self._config = config
        self.pairs = None if config.pairs is None else folder / config.pairs
        self._maps: dict[str, Path] = {}
        self._by_name: dict[str, set[Path]] = defaultdict(set)
        if self.pairs is not None:
            for photo, found in read_pairs(self.pairs):
                self._maps[_normal((self.pairs.parent / photo).resolve())] = self.pairs.parent / found
                self._by_name[_normal(PurePosixPath(photo).name)].add(self.pairs.parent / found)

    def find(self, photo: Path) -> Path:
        """The map of a photo file.

        Raises:
            DistillError: There is none, or it is the photo itself.
        """
        found = self._by_pattern(photo) if self.pairs is None else self._by_pair(photo)
        if found.samefile(photo):
            raise DistillError(
                f"{found}: is the photo itself, not its map", hint="give photos only, with a glob such as '*.color.png'"
            )
        return found

    def _by_pair(self, photo: Path) -> Path:
        absolute, name = _normal(photo.resolve()), _normal(photo.name)
        candidates = {self._maps[absolute]} if absolute in self._maps else self._by_name.get(name, set())
        if len(candidates) != 1:
            count = "no map" if not candidates else f"{len(candidates)} maps"
            raise DistillError(f"{photo}: {self.pairs} has {count} for it", hint="add its path to the CSV")
        (found,) = candidates
        return _existing(found) or _missing(found, photo, "fix the CSV")

    def _by_pattern(self, photo: Path) -> Path:
        pattern = self._config.pattern.replace("\\", "/")
        given = photo.absolute()
        expected = given
        for replaced in self._replaced(given):
            try:
                relative = pattern.format(stem=replaced.stem, name=replaced.name, folder=replaced.parent.name)
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise UsageError(
                    f"pattern {self._config.pattern!r}: only {{stem}}, {{name}} and {{folder}} are replaced",
                    hint="fix the config",
                ) from error
            expected = (photo if replaced == given else replaced).parent / relative
            if found := _existing(expected):
                return found
        return _missing(expected, photo, "check pattern and replace, or give only photos that have a map")

    def _replaced(self, photo: Path) -> list[Path]:
        """The path with its last parts replaced, fewest first: a folder far above may have the same name by chance."""
        if not self._config.replace:
            return [photo]
        parts = list(photo.parts)
        found = []
        for index in range(len(parts) - 1, 0, -1):
            for old, new in self._config.replace.items():
                parts[index] = parts[index].replace(old, new)
            found.append(Path(*parts))
        return list(dict.fromkeys(found))


def _normal(path: Path | str) -> str:
    return unicodedata.normalize("NFC", str(path))


def _existing(path: Path) -> Path | None:
    """The file, whose name may be stored with composed or with decomposed accents."""
    if path.is_file():
        return path
    spelled = (Path(unicodedata.normalize(form, str(path))) for form in _FORMS)
    mixed = (path.with_name(unicodedata.normalize(form, path.name)) for form in _FORMS)
    return next((other for other in (*spelled, *mixed) if other.is_file()), None)


def _missing(expected: Path, photo: Path, hint: str) -> Path:
    names: list[str] = []
    if expected.parent.is_dir():
        with os.scandir(expected.parent) as entries:
            names = [entry.name for entry in islice(entries, _LOOKED_AT)]
    close = difflib.get_close_matches(expected.name, sorted(names), n=1, cutoff=0.7)
    near = f"; its folder has {close[0]}" if close and close[0] != photo.name else ""
    raise DistillError(f"{os.path.normpath(expected)}: no such map for {photo.name}{near}", hint=hint)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(photo, map) of every row of a CSV with commas, semicolons or tabs; a header is left out.

    Raises:
        UsageError: Unreadable, or a row has no two cells.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", hint="give a CSV as pairs") from error
    text = _decoded(data, path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
    if not rows or any(len(row) < 2 or not row[0] or not row[1] for row in rows):
        bad = next((number for number, row in enumerate(rows, 1) if len(row) < 2 or not row[0] or not row[1]), 1)
        raise UsageError(f"{path}, row {bad}: not a pair of photo and map", hint="write photo,map in every row")
    if "." not in rows[0][0] + rows[0][1]:  # a header: names of columns have no suffix
        columns = [name.casefold() for name in rows.pop(0)]
        if "photo" in columns and "map" in columns:
            rows = [[row[columns.index("photo")], row[columns.index("map")]] for row in rows]
    return [(row[0].replace("\\", "/"), row[1].replace("\\", "/")) for row in rows]


def _decoded(data: bytes, path: Path) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    for encoding in _ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UsageError(f"{path}: not a text file", hint="save the CSV as UTF-8")
