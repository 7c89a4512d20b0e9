"""Lists of photos: text and CSV, as spreadsheets and scripts of any system write them, and annotations of COCO."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from distill.errors import UsageError
from distill.files import read_file, read_json

LIST_SUFFIXES = frozenset({".txt", ".lst", ".csv", ".tsv", ".json"})
_MAX_COCO_BYTES = 1 << 30
_COLUMNS = ("photo", "image", "path", "file", "filename", "file_name", "filepath", "image_path", "photo_path", "img")
_ENCODINGS = ("utf-8-sig", "cp1252")
_HINT = "write one path per line, absolute or relative to the folder of the list"


def read_list(path: Path) -> list[tuple[Path, str]]:
    """(photo, name in messages) of every line of a list, in order, each once; missing photos are kept.

    A path is absolute, or relative to the folder of the list, or to the working folder. Empty lines and lines that
    start with ``#`` are skipped. In a CSV, the column named photo, image, path, file or filename counts, else the
    first one. Annotations of COCO (``.json``) list their ``images``, which are next to them or in the folder of photos
    next to theirs (``annotations/instances_val2017.json``, ``val2017/``, ``images/val2017/``).

    Raises:
        UsageError: The list cannot be read, or names no file that exists.
    """
    folders = [path.parent, Path()]
    try:
        if path.suffix.lower() == ".json":
            words, folders = _coco_names(path), _coco_folders(path)
        else:
            text = decode_text(read_file(path), path)
            words = _column(text) if path.suffix.lower() in (".csv", ".tsv") else text.splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", hint="give a list of photos") from error
    words = [word.strip().strip('"') for word in words]
    words = list(dict.fromkeys(word for word in words if word and not word.startswith("#")))
    files = [_find(word, folders) for word in words]
    if not any(file.is_file() for file in files):
        first = f"; the first is {words[0]}" if words else ""
        raise UsageError(f"{path}: names no photo that exists{first}", hint=_HINT)
    return list(zip(files, _names(files, path.parent), strict=True))


def decode_text(data: bytes, path: Path) -> str:
    """Text in UTF-8, UTF-16 with a byte order mark, or Windows-1252.

    Raises:
        UsageError: Not a text.
    """
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if is_wide else _ENCODINGS:
        try:
            text = data.decode(encoding, errors="replace" if is_wide else "strict")
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UsageError(f"{path}: not a text file", hint="save it as UTF-8")


def existing_file(path: Path) -> Path | None:
    """The file, whose name may be stored with composed or decomposed accents, and its suffix in capitals or not."""
    spelled = [str(path), unicodedata.normalize("NFC", str(path)), unicodedata.normalize("NFD", str(path))]
    try:
        spelled += [str(path.with_name(Path(text).name)) for text in spelled[1:]]
        cases = {path.suffix.lower(), path.suffix.upper()} - {path.suffix}
        spelled += [str(Path(text).with_suffix(suffix)) for suffix in sorted(cases) for text in list(spelled)]
        return next((Path(text) for text in spelled if Path(text).exists()), None)
    except (OSError, ValueError):  # a name that is too long, or empty
        return None


def _column(text: str) -> list[str]:
    """The cells with the paths."""
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(cell.strip() for cell in row)]
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    number = next((header.index(name) for name in _COLUMNS if name in header), None)
    rows = rows if number is None else rows[1:]
    return [row[number or 0] for row in rows if len(row) > (number or 0)]


def _coco_names(path: Path) -> list[str]:
    """``file_name`` of the ``images`` of a COCO file.

    Raises:
        OSError: Unreadable or too large.
        UsageError: Not such a file.
    """
    try:
        values = read_json(path, _MAX_COCO_BYTES)
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}", hint="give photos, a list of photos or a COCO file") from error
    images = values.get("images") if isinstance(values, dict) else None
    names = [image.get("file_name") if isinstance(image, dict) else None for image in images or ()]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UsageError(
            f"{path}: has no images with a file_name, as COCO files do", hint="give photos, or a text with one per line"
        )
    return [str(name) for name in names]


def _coco_folders(path: Path) -> list[Path]:
    """Folders where the photos of a COCO file may be."""
    split = path.stem.rpartition("_")[2]
    return [
        base / name for base in (path.parent, path.parent.parent) for name in ("", split, "images", f"images/{split}")
    ]


def _find(word: str, folders: Sequence[Path]) -> Path:
    """The file of one line; where none exists, its place below the first folder."""
    for spelled in dict.fromkeys((word, word.replace("\\", "/"))):
        for place in (folder / spelled for folder in folders):
            if (found := existing_file(place)) is not None:
                return found
    return folders[0] / word


def _names(files: list[Path], folder: Path) -> list[str]:
    """Names without the part of the path that all files share: shards do not hold paths of this machine."""
    places = [os.path.normpath(file if file.is_absolute() else Path.cwd() / file) for file in files]
    base = os.path.normpath(folder if folder.is_absolute() else Path.cwd() / folder)
    if not all(place.startswith(base + os.sep) for place in places):
        base = os.path.commonpath([os.path.dirname(place) for place in places])  # noqa: PTH120
    return [Path(os.path.relpath(place, base)).as_posix() for place in places]
