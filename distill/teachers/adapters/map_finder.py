"""Find the map of a photo: by a pattern of its path, or by a CSV of pairs."""

from __future__ import annotations

import csv
import difflib
import io
import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from distill.config.maps import TIME, MapConfig
from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.inputs.photo_lists import decode_text, existing_file
from distill.teachers.adapters.path_template import FolderListing, match_path
from distill.teachers.base import NoAnswer

_LOOKED_AT = 2000
"""Files that are compared with a missing name."""


class MapFinder:
    """Finds the maps of one task, or the masks of their valid pixels."""

    def __init__(self, config: MapConfig, folder: Path, *, masks: bool = False) -> None:
        """Read the pairs, if there are any; `folder` is the config's.

        Raises:
            UsageError: The CSV is not readable.
        """
        self._config = config
        self._pattern = (config.valid if masks else config.pattern).replace("\\", "/")
        self._listing = FolderListing()
        self.pairs = None if config.pairs is None or masks else folder / config.pairs
        self._maps: dict[str, Path] = {}
        self._by_name: dict[str, set[Path]] = defaultdict(set)
        if self.pairs is not None:
            for photo, found in read_pairs(self.pairs):
                self._maps[_normal((self.pairs.parent / photo).resolve())] = self.pairs.parent / found
                self._by_name[_normal(PurePosixPath(photo).name)].add(self.pairs.parent / found)

    def find(self, photo: Path) -> Path:
        """The map of a photo file.

        Raises:
            NoAnswer: There is none.
            DistillError: It is the photo itself.
        """
        expected = self.expected(photo)
        found = existing_file(expected)
        if found is None:
            raise NoAnswer(
                f"{os.path.normpath(expected)}: no such map for {photo.name}{_near(expected, photo)}",
                hint="check photo, pattern and replace, or give only photos that have a map"
                if self.pairs is None
                else "fix the CSV",
            )
        if photo.exists() and found.samefile(photo):
            raise DistillError(
                f"{found}: is the photo itself, not its map", hint="give photos only, with a glob such as '*.color.png'"
            )
        return found

    def expected(self, photo: Path) -> Path:
        """Where the map of a photo file is, or should be.

        Raises:
            NoAnswer: The CSV does not name exactly one, or the photo's path has another shape.
            DistillError: Several files fit.
        """
        if self.pairs is not None:
            return self._by_pair(photo)
        given = photo.absolute()
        if self._config.photo:
            matched = match_path(self._config.photo, given)
            if matched is None:
                raise NoAnswer(
                    f"{photo}: its path does not end like {self._config.photo}",
                    hint="give the photos in their folders as published, or fix photo in the config",
                )
            return self._place(matched.base, {**_words(given), **matched.words})
        places = [
            self._place((photo if replaced == given else replaced).parent, _words(replaced))
            for replaced in self._replaced(given)
        ]
        return next((place for place in places if existing_file(place)), places[-1]) if len(places) > 1 else places[0]

    def _place(self, base: Path, words: Mapping[str, str]) -> Path:
        """The path of the pattern with these words."""
        folder, slash, name = self._pattern.rpartition("/")
        parent = base / (folder.format(**words) or slash)
        if "*" in name:
            return self._listing.only(parent, name, words)
        if f"{{{TIME}}}" in name:
            return self._listing.nearest(parent, name, words, self._config.max_time_s)
        return parent / name.format(**words)

    def _by_pair(self, photo: Path) -> Path:
        absolute, name = _normal(photo.resolve()), _normal(photo.name)
        candidates = {self._maps[absolute]} if absolute in self._maps else self._by_name.get(name, set())
        if len(candidates) != 1:
            count = "no map" if not candidates else f"{len(candidates)} maps"
            raise NoAnswer(f"{photo}: {self.pairs} has {count} for it", hint="add its path to the CSV")
        return next(iter(candidates))

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


def _words(photo: Path) -> dict[str, str]:
    return {"stem": photo.stem, "name": photo.name, "folder": photo.parent.name}


def _normal(path: Path | str) -> str:
    return unicodedata.normalize("NFC", str(path))


def _near(expected: Path, photo: Path) -> str:
    """The file in the same folder with the most similar name, as part of a sentence."""
    names: list[str] = []
    if expected.parent.is_dir():
        with os.scandir(expected.parent) as entries:
            names = [entry.name for entry in islice(entries, _LOOKED_AT)]
    by_plain = {name.casefold(): name for name in sorted(names)}
    close = difflib.get_close_matches(expected.name.casefold(), by_plain, n=1, cutoff=0.7)
    return f"; its folder has {by_plain[close[0]]}" if close and by_plain[close[0]] != photo.name else ""


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(photo, map) of every row of a CSV with commas, semicolons or tabs; a header is left out.

    Raises:
        UsageError: Unreadable, or a row has no two cells.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", hint="give a CSV as pairs") from error
    text = decode_text(data, path)
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
