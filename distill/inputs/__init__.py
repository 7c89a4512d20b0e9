"""Input files of a command: folders, globs, lists, photos, archives and videos, with a unique key per file."""

from distill.inputs.keys import safe_key, unique_keys
from distill.inputs.own_files import is_system_folder
from distill.inputs.paths import (
    ARCHIVE_SUFFIXES,
    PHOTO_SUFFIXES,
    TABLE_SUFFIXES,
    Expansion,
    FileInput,
    FolderContents,
    FoundInputs,
    UnreadablePhoto,
    expand,
    find_inputs,
    is_shards,
    walk,
)
from distill.inputs.photo_lists import decode_text, existing_file

__all__ = [
    "ARCHIVE_SUFFIXES",
    "PHOTO_SUFFIXES",
    "TABLE_SUFFIXES",
    "Expansion",
    "FileInput",
    "FolderContents",
    "FoundInputs",
    "UnreadablePhoto",
    "decode_text",
    "existing_file",
    "expand",
    "find_inputs",
    "is_shards",
    "is_system_folder",
    "safe_key",
    "unique_keys",
    "walk",
]
