"""Maintenance of an answer store: verify all files, remove leftovers, export answers with a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from distill.errors import DistillError
from distill.files import write_atomic
from distill.images import decode_rgb
from distill.tasks import TASKS, Task
from distill.teachers.store.answers import AnswerStore, is_key
from distill.teachers.store.batch_table import BATCH_FINISHED
from distill.teachers.store.ledger import Ledger, open_to_read
from distill.teachers.store.records import EMPTY, IMAGE, REFUSED, AnswerCorrupt, AnswerKey, CachedAnswer

UNREADABLE = "unreadable"
"""An answer of kind image that cannot be decoded."""
DAMAGED = "damaged"
"""An answer whose record or bytes have changed since they were stored."""
FORGETTABLE = (REFUSED, EMPTY, UNREADABLE, DAMAGED)
_PART_SUFFIX = ".part"


@dataclass
class StoreReport:
    """Result of `verify`.

    Attributes:
        answers: Number of intact answers.
        damaged: (key, reason) of the others.
        orphans: Image files without a record, left by a kill; their prompts are unknown.
        leftovers: Partial files.
        missing: Requests that are done according to the ledger and have no answer.
    """

    answers: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether no paid answer is lost; files left by a kill do not count."""
        return not self.damaged and not self.missing


def verify(store: AnswerStore) -> StoreReport:
    """Read every answer and compare it with its record and the ledger."""
    found, seen = StoreReport(), set()
    for key in store.all_keys():
        seen.add(key)
        try:
            stored = store.get(key)
            if stored is None:
                found.damaged.append((key, "its bytes are missing"))
            elif AnswerKey(**stored.meta["answer_key"]).digest != key:
                found.damaged.append((key, "its key does not match its record"))
            else:
                found.answers += 1
        except DistillError as error:
            found.damaged.append((key, error.message))
        except (KeyError, TypeError) as error:
            found.damaged.append((key, f"its record is incomplete: {error}"))
    found.orphans, found.leftovers = _leftover_files(store)
    if (store.folder / "ledger.sqlite").is_file():
        with open_to_read(store.folder) as ledger:
            found.missing = [row["key"] for row in ledger.rows() if row["state"] == "done" and row["key"] not in seen]
    return found


def collect_garbage(store: AnswerStore, *, forget: tuple[str, ...] = (), apply: bool) -> dict[str, int]:
    """Remove leftovers and answers of some kinds; returns the number of removed files and answers by kind.

    Args:
        store: The answers.
        forget: Kinds of answers to remove, so that they are requested, and paid for, again.
        apply: Remove them; else only count.
    """
    orphans, leftovers = _leftover_files(store)
    counts = {"orphans": len(orphans), "leftovers": len(leftovers), **dict.fromkeys(forget, 0)}
    doomed = [*orphans, *leftovers]
    keys = []
    for key in store.all_keys() if forget else ():
        kind = _kind(store, key)
        if kind in forget:
            counts[kind] += 1
            keys.append(key)
    if apply:
        for path in doomed:
            path.unlink(missing_ok=True)
        _forget(store, keys)
    return counts


def export_answers(store: AnswerStore, out: Path) -> dict[str, int]:
    """Copy all images with a manifest for the replay teacher; returns the number of copied and omitted answers.

    Raises:
        DistillError: The folder cannot be written.
    """
    counts = {"answers": 0, "left_out": 0, DAMAGED: 0}
    rows = list[dict[str, Any]]()
    try:
        (out / "answers").mkdir(parents=True, exist_ok=True)
        for key in store.all_keys():
            try:
                stored = store.get(key)
            except AnswerCorrupt:
                stored = None
            if stored is None:
                counts[DAMAGED] += 1
                continue
            prompt_spec = stored.meta.get("prompt_spec")
            if stored.kind != IMAGE or not prompt_spec or not stored.meta.get("photo"):
                counts["left_out"] += 1
                continue
            try:
                rows.append(_row(stored, prompt_spec))
            except (KeyError, TypeError, ValueError):
                counts[DAMAGED] += 1
                continue
            write_atomic(out / "answers" / stored.name, stored.data)
            counts["answers"] += 1
    except OSError as error:
        raise DistillError(f"{out}: cannot be written: {error.strerror}", hint="free space, then run again") from error
    rows.sort(key=lambda row: (row["photo"], row["task"], row["answer"]))
    write_atomic(out / "answers.yaml", yaml.safe_dump(rows, sort_keys=False, allow_unicode=True).encode())
    return counts


def _row(stored: CachedAnswer, prompt_spec: dict[str, Any]) -> dict[str, Any]:
    """A row of the manifest, without empty values."""
    values = {
        "photo": stored.meta["photo"],
        "task": prompt_spec["task"],
        "answer": f"answers/{stored.name}",
        "prompt": prompt_spec["prompt"],
        "legend": {name: list(color) for name, color in prompt_spec["legend"]},
        "class": prompt_spec["class_name"],
        "background": prompt_spec["background"] if TASKS[Task(prompt_spec["task"])].has_background else None,
        "colormap": prompt_spec["colormap"],
        "depth_kind": prompt_spec["depth_kind"],
        "near_is_low": prompt_spec["near_is_low"],
        "frame": prompt_spec["frame"],
        "resize_mode": prompt_spec["resize_mode"],
        "model": stored.meta["model_version"],
        "license": stored.meta["license"],
        "cost_usd": stored.meta["cost_usd"],
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def _kind(store: AnswerStore, key: str) -> str:
    """The kind of an answer; images are decoded to find unreadable ones."""
    try:
        stored = store.get(key)
    except AnswerCorrupt:
        return DAMAGED
    if stored is None:
        return DAMAGED
    if stored.kind != IMAGE:
        return stored.kind
    try:
        decode_rgb(stored.data, stored.name)
    except DistillError:
        return UNREADABLE
    return IMAGE


def _forget(store: AnswerStore, keys: list[str]) -> None:
    ledger = Ledger(store.folder)
    for key in keys:
        store.remove(key)
        ledger.forget(key)
    ledger.close()


def _leftover_files(store: AnswerStore) -> tuple[list[Path], list[Path]]:
    """(image files without a record, partial files); files of unfinished batch jobs are neither."""
    orphans, leftovers = [], []
    for folder in sorted(store.folder.glob("[0-9a-f][0-9a-f]")):
        if folder.is_symlink():  # its files were not written by a store
            continue
        records = {path.stem for path in folder.glob("*.json") if not path.name.startswith(".")}
        for path in sorted(folder.iterdir()):
            key = path.name.removeprefix(".").partition(".")[0]
            if not is_key(key) or not (path.is_symlink() or path.is_file()):
                continue
            if path.name.startswith(".") and path.name.endswith(_PART_SUFFIX):
                leftovers.append(path)
            elif path.suffix != ".json" and path.stem not in records:
                orphans.append(path)
    batches = store.folder / "batches"
    if batches.is_dir() and not batches.is_symlink():
        with open_to_read(store.folder) as ledger:
            live = {batch["label"] for batch in ledger.batches.rows() if batch["state"] != BATCH_FINISHED}
        leftovers += [path for path in sorted(batches.iterdir()) if path.name.partition(".")[0] not in live]
    return orphans, leftovers
