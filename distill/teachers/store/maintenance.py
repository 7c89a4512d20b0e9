"""Looking after a store of answers: check every byte, clear what is left over, hand answers on as a manifest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from distill.errors import DistillError
from distill.images import decode_rgb, write_atomic
from distill.tasks import Task
from distill.teachers.store.answers import EMPTY, IMAGE, REFUSED, AnswerStore, AnswerKey, AnswerCorrupt, CachedAnswer
from distill.teachers.store.ledger import BATCH_FINISHED, Ledger

UNREADABLE = "unreadable"
"""A picture by its kind, and none that can be decoded."""
DAMAGED = "damaged"
"""Its page or its bytes are not what was stored: a disk's fault, or a stranger's."""
FORGETTABLE = (REFUSED, EMPTY, UNREADABLE, DAMAGED)
_PART_SUFFIX = ".part"


@dataclass
class StoreReport:
    """What is wrong in a store.

    Attributes:
        answers: How many are whole.
        damaged: (key, why) of those that are not.
        orphans: Bytes without a page: left by a kill; nobody can know what they answer.
        leftovers: Half-written files.
        missing: Requests that the ledger says are done, without an answer.
    """

    answers: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing that was paid for is lost; what a kill leaves over is no loss."""
        return not self.damaged and not self.missing


def verify(store: AnswerStore) -> StoreReport:
    """Reads every answer, and holds it against its own page and the ledger."""
    found, seen = StoreReport(), set()
    for key in store.all_keys():
        seen.add(key)
        try:
            stored = store.get(key)
            if stored is None:
                found.damaged.append((key, "its bytes are missing"))
            elif AnswerKey(**stored.meta["answer_key"]).digest != key:
                found.damaged.append((key, "it is not the answer to what its page says was asked"))
            else:
                found.answers += 1
        except DistillError as error:
            found.damaged.append((key, error.message))
        except (KeyError, TypeError) as error:
            found.damaged.append((key, f"its page is incomplete: {error}"))
    found.orphans, found.leftovers = _leftover_files(store)
    if (store.folder / "ledger.sqlite").is_file():
        ledger = Ledger(store.folder)
        found.missing = [row["key"] for row in ledger.rows() if row["state"] == "done" and row["key"] not in seen]
        ledger.close()
    return found


def collect_garbage(store: AnswerStore, *, forget: tuple[str, ...] = (), apply: bool) -> dict[str, int]:
    """How many files and answers were removed, by kind; or would be.

    Args:
        store: Where.
        forget: Kinds of answers to remove, so that they are asked for, and paid for, again.
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
    """How many answers were copied and left out; writes them with a manifest that the replay teacher reads.

    Raises:
        DistillError: The folder cannot be written.
    """
    counts = {"answers": 0, "left_out": 0, DAMAGED: 0}
    rows = []
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
            shutil.copyfile(store.path(stored), out / "answers" / stored.name)
            rows.append(_row(stored, prompt_spec))
            counts["answers"] += 1
    except OSError as error:
        raise DistillError(f"{out}: cannot be written: {error.strerror}", hint="free space, then run again") from error
    rows.sort(key=lambda row: (row["photo"], row["task"], row["answer"]))
    write_atomic(out / "answers.yaml", yaml.safe_dump(rows, sort_keys=False, allow_unicode=True).encode())
    return counts


def _row(stored: CachedAnswer, prompt_spec: dict[str, Any]) -> dict[str, Any]:
    """A line of the manifest; what says nothing is left out."""
    values = {
        "photo": stored.meta["photo"],
        "task": prompt_spec["task"],
        "answer": f"answers/{stored.name}",
        "prompt": prompt_spec["prompt"],
        "legend": {name: list(color) for name, color in prompt_spec["legend"]},
        "class": prompt_spec["class_name"],
        "background": list(prompt_spec["background"]) if prompt_spec["task"] != Task.DEPTH else None,
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
    """The kind of an answer; pictures are decoded to see whether they are any."""
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
    """(bytes without a page, half-written files); files of batch jobs that are not over are neither."""
    orphans, leftovers = [], []
    for folder in sorted(store.folder.glob("[0-9a-f][0-9a-f]")):
        pages = {path.stem for path in folder.glob("*.json") if not path.name.startswith(".")}
        for path in sorted(folder.iterdir()):
            if path.name.endswith(_PART_SUFFIX):
                leftovers.append(path)
            elif path.suffix != ".json" and path.stem not in pages:
                orphans.append(path)
    batches = store.folder / "batches"
    if batches.is_dir():
        ledger = Ledger(store.folder)
        live = {batch["label"] for batch in ledger.batches() if batch["state"] != BATCH_FINISHED}
        ledger.close()
        leftovers += [path for path in sorted(batches.iterdir()) if path.name.partition(".")[0] not in live]
    return orphans, leftovers
