"""Input files of a command: folders, globs, lists, photos, archives and videos, with a unique key per file."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.errors import UsageError
from distill.files import printable, read_json
from distill.images import SUFFIXES
from distill.inputs.keys import unique_keys
from distill.inputs.own_files import OwnFileFinder, is_system_folder, own_files, own_folders
from distill.inputs.photo_lists import LIST_SUFFIXES, read_list
from distill.shards import MANIFEST
from distill.video import SUFFIXES as VIDEO_SUFFIXES
from distill.video import has_video_bytes, is_video, safe_address

_UNREADABLE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *(
            "tga",
            "pcx",
            "heic",
            "heif",
            "heics",
            "hif",
            "jxl",
            "psd",
            "exr",
            "hdr",
            "raw",
            "cr2",
            "cr3",
            "crw",
            "nef",
            "nrw",
            "dng",
        ),
        *("arw", "srf", "sr2", "orf", "rw2", "raf", "pef", "srw", "x3f", "3fr", "iiq"),
    )
)
"""Photos that may not be decodable: listed with a reason instead of ignored."""
PHOTO_SUFFIXES = SUFFIXES | _UNREADABLE_SUFFIXES
ARCHIVE_SUFFIXES = frozenset({".tar", ".zip"})
"""Archives whose photos can be labeled without unpacking them."""
TABLE_SUFFIXES = frozenset({".parquet", ".arrow"})
"""Tables with a column of photos."""
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar", ".gz")
_ODD_PHOTO_NAME = re.compile(r"[^.]*|.*\.((jpe?g|png|webp)[^a-z0-9.].*|jfi|jif|pjp|pjpeg)", re.IGNORECASE)
"""Names from downloads, such as ``a.jpg_large``, ``b.jpg?w=500`` or ``c``: photos if their bytes are."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"GIF8")


@dataclass(frozen=True, slots=True)
class UnreadablePhoto:
    """A photo that cannot be used, and the reason."""

    name: str
    reason: str


@dataclass(slots=True)
class FolderContents:
    """Files below a folder, sorted by relative path.

    Attributes:
        files: (path, relative path) of files with a wanted suffix.
        ignored: Relative paths of the other files.
        left_out: Relative paths of results of earlier runs, and of folders of storage systems and recycle bins.
        archives: (path, relative path) of tars, zips and tables with a column of photos.
        unreadable: Folders that cannot be read.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    archives: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[UnreadablePhoto] = field(default_factory=list)


@dataclass(slots=True)
class Expansion:
    """The files behind one word of the command line.

    Attributes:
        files: (path, name in messages); a folder is one entry.
        left_out: Results of earlier runs among the matches of a glob.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def expand(entry: str) -> Expansion:
    """The path itself, the photos, archives and videos that a glob matches, or the files of a list.

    A glob may have braces: ``0000{0..3}.tar``. A list is a text or CSV file, with or without ``@`` before its path.

    Raises:
        UsageError: Neither a path nor a glob with matches, or a file that first has to be unpacked.
    """
    path = Path(entry)
    if entry.startswith("@") and not path.exists():
        return Expansion(read_list(Path(entry[1:])))
    if path.exists():
        _check_packed(path)
        is_list = path.suffix.lower() in LIST_SUFFIXES and path.is_file()
        return Expansion(read_list(path)) if is_list else Expansion([(path, path.name)])
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", entry):
        hint = "give the path" if entry.startswith("file:") else "download the photos, and give their folder"
        raise UsageError(f"{safe_address(entry)}: is an address, and photos are read from this machine only", hint=hint)
    words = _expand_braces(entry)
    # Path.glob cannot start from an absolute pattern before Python 3.13.
    matches = [Path(match) for word in words for match in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207
    if not matches:
        raise UsageError(f"{safe_address(entry)}: no such file, folder or glob", hint="check the path")
    wanted = PHOTO_SUFFIXES | VIDEO_SUFFIXES | ARCHIVE_SUFFIXES | TABLE_SUFFIXES
    found, is_own = Expansion(), OwnFileFinder()
    for match in matches:
        if match.suffix.lower() in wanted and match.is_file():
            if is_own(match):
                found.left_out.append(str(match))
            else:
                found.files.append((match, match.name))
    # Files that braces name are expected; each that is missing is reported like a missing file of a list.
    missing = [Path(word) for word in words if len(words) > 1 and not glob.has_magic(word) and not Path(word).exists()]
    found.files += [(path, path.name) for path in missing if path.suffix.lower() in wanted]
    return found


def _expand_braces(word: str) -> list[str]:
    if "{" not in word:
        return [word]
    from braceexpand import braceexpand

    try:
        return list(braceexpand(word))
    except ValueError:  # unbalanced
        return [word]


def _check_packed(path: Path) -> None:
    """Raise UsageError for a file that holds photos in a form that is not read."""
    packed = next((suffix for suffix in _PACKED if path.name.lower().endswith(suffix)), "")
    if packed and path.is_file():
        raise UsageError(
            f"{path}: photos in a {packed} file cannot be read directly",
            hint="unpack it, and give the folder; a .tar without compression and a .zip need not be unpacked",
        )


def is_shards(folder: Path) -> bool:
    """Whether a folder contains shards; False if it cannot be read, or has a file of that name of another program."""
    try:
        if not (folder / MANIFEST).is_file():
            return False
        values = read_json(folder / MANIFEST)
        return isinstance(values, dict) and {"tasks", "shards"} <= values.keys()
    except ValueError:
        return any(folder.glob("shard-*.tar"))  # a damaged manifest, which is reported when it is opened
    except OSError:
        return False


def walk(folder: Path, *, suffixes: Collection[str] = PHOTO_SUFFIXES, leave_out: Sequence[Path] = ()) -> FolderContents:
    """The files below a folder; links to folders are followed, each folder once.

    Hidden files and folders, those of storage systems (``@eaDir``) and results of earlier runs are left out.

    Args:
        folder: Where to start.
        suffixes: Wanted suffixes, in lower case with dot.
        leave_out: Folders to skip.
    """
    seen = {path.resolve() for path in leave_out}
    contents = FolderContents()

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def on_error(error: OSError) -> None:
        name = printable(relative(Path(error.filename)))
        contents.unreadable.append(UnreadablePhoto(name, f"cannot be read: {error.strerror}"))

    for place, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        root = Path(place)
        if root.resolve() in seen:
            folders.clear()
            continue
        seen.add(root.resolve())
        skipped = {name for name in folders if is_system_folder(name)} | own_folders(root, folders)
        contents.left_out += [relative(root / name) + "/" for name in sorted(skipped)]
        folders[:] = sorted(set(folders) - skipped)
        own = own_files(root, names)
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or name in own:
                # Other hidden files are of no interest; ._a.jpg is half of a photo from a Mac.
                contents.left_out += [relative(root / name)] if name in own or suffix in suffixes else []
            elif suffix in suffixes or (_ODD_PHOTO_NAME.fullmatch(name) and _is_photo(root / name)):
                contents.files.append((root / name, relative(root / name)))
            elif suffix in ARCHIVE_SUFFIXES | TABLE_SUFFIXES:
                contents.archives.append((root / name, relative(root / name)))
            else:
                contents.ignored.append(relative(root / name))
    contents.files.sort(key=lambda item: item[1])
    contents.archives.sort(key=lambda item: item[1])
    contents.ignored.sort()
    contents.unreadable.sort(key=lambda item: item.name)
    return contents


def _is_photo(path: Path) -> bool:
    """Whether a file starts like a photo; for names without a known suffix."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(16).startswith(_MAGIC)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class FileInput:
    """One input file.

    Attributes:
        path: The file.
        name: Name in messages: relative to the given folder.
        key: Unique among all inputs; without dot and slash; part of the names of its outputs.
        video: Whether it is read as a video.
    """

    path: Path
    name: str
    key: str
    video: bool


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """Files behind the inputs of a command.

    Attributes:
        files: Photos and videos.
        left_out: Names of the other files in folders: neither photos nor videos, results of earlier runs, folders of
            storage systems.
    """

    files: list[FileInput]
    left_out: list[str]


def find_inputs(inputs: Sequence[str]) -> FoundInputs:
    """The photos and videos behind folders, globs, lists and paths, in order, each once.

    A file in a folder is taken by its suffix, or as a video by its bytes. A file that is named directly is taken with
    any suffix; it fails later, with a reason, if it cannot be read.

    Raises:
        UsageError: An input does not exist, or there are no photos and no videos.
    """
    suffixes = SUFFIXES | VIDEO_SUFFIXES
    found: dict[Path, str] = {}
    left_out, ignored = list[str](), list[str]()
    for entry in inputs:
        expansion = expand(entry)
        left_out += expansion.left_out
        for path, name in expansion.files:
            if path.is_dir():
                contents = walk(path, suffixes=suffixes)
                left_out += contents.left_out
                moving = [(path / name, name) for name in contents.ignored if has_video_bytes(path / name)]
                for file, relative in sorted([*contents.files, *moving], key=lambda item: item[1]):
                    found.setdefault(file, relative)
                ignored += sorted({*contents.ignored, *(n for _, n in contents.archives)} - {n for _, n in moving})
            elif path == Path(entry) or path.suffix.lower() not in PHOTO_SUFFIXES - SUFFIXES:
                found.setdefault(path, name)
    if not found:
        more = (
            f" ({len(left_out)} files and folders of earlier runs and of storage systems are left out)"
            if left_out
            else ""
        )
        raise UsageError(
            f"{', '.join(inputs)}: no photos or videos there{more}", hint="give photos, folders, globs or videos"
        )
    keys = unique_keys(list(found.values()))
    files = [
        FileInput(path, printable(name), key, is_video(path))
        for (path, name), key in zip(found.items(), keys, strict=True)
    ]
    return FoundInputs(files, [printable(name) for name in [*ignored, *left_out]])
