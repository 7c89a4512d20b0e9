"""Dataset card of a set of shards, with which the `datasets` library of Hugging Face opens the folder.

The card lists the columns, and reads the json as what it is; without it, the library infers a type for each of its
values from the first samples.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from distill.files import write_atomic
from distill.shards import Manifest

CARD = "README.md"
_MARK = "# Written by distill label"


def write_card(folder: Path, manifest: Manifest) -> None:
    """Write the card; a README.md of someone else is left as it is."""
    if not is_own_card(folder / CARD) and (folder / CARD).exists():
        return
    names = [
        "jpg",
        *(f"{task}{end}" for task in manifest.tasks for end in (".png", ".confidence.png")),
    ]
    features = [{"name": "__key__", "dtype": "string"}]
    features += [{"name": name, "dtype": "image"} for name in names]
    features += [{"name": "json", "dtype": "json"}]
    header = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.tar"}]}],
        "dataset_info": {"features": features},
    }
    text = (
        f"---\n{_MARK}\n{yaml.safe_dump(header, sort_keys=False)}---\n\n"
        f"Label shards of distill: {manifest.samples} photos, labels of {', '.join(manifest.tasks)} by "
        f"{', '.join(manifest.teachers)}. License of the labels: {', '.join(manifest.licenses)}.\n\n"
        "```python\n"
        "from datasets import load_dataset\n\n"
        'rows = load_dataset("path/of/this/folder", split="train", streaming=True)\n'
        "```\n"
    )
    write_atomic(folder / CARD, text.encode())


def is_own_card(path: Path) -> bool:
    """Whether a card was written by this module."""
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(200)
    except OSError:
        return False
