"""Photos, prompts and target images as folders that trainers of image editors read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from distill.datasets.formats.base import ImportedSet, Options, count, labeled_samples
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images import decode_rgb, encode_jpeg, encode_map
from distill.labels.conversions import resample_nearest
from distill.shards import Sample
from distill.tasks import TASKS, Task
from distill.teachers.base import PromptSpec
from distill.teachers.registration.canvas import Grid, fit_canvas, to_canvas
from distill.teachers.tuning.targets import MIN_VALID_FRACTION, draw_prompts, draw_rng, target_image

CANVAS = Grid(multiple=32, max_pixels=1024 * 1024)
"""Sizes that every pipeline of ``configs/teachers`` takes unchanged."""
_FILL = "fill"
_FOLDER_BYTES = 150
"""Of a key in a file name; further bytes would not fit next to the task and a number."""


@dataclass(frozen=True, slots=True)
class EditPair:
    """A photo, a prompt, and the image that answers it, both images at one of the generator's sizes."""

    name: str
    task: Task
    photo: UInt8[ndarray, "h w 3"]
    prompt_spec: PromptSpec
    target: UInt8[ndarray, "h w 3"]


def edit_pairs(
    sample: Sample, shards: ShardSet, counts: dict[str, int], *, seed: int = 0, epoch: int = 0, grid: Grid = CANVAS
) -> Iterator[EditPair]:
    """The pairs of one sample, the same for equal seeds and epochs.

    Args:
        sample: With its labels.
        shards: Its set, which names the classes.
        counts: Receives what is left out, for the user.
        seed: Of colors, orders and wordings.
        epoch: Another epoch draws others.
        grid: Sizes of the generator.

    Raises:
        DistillError: The photo or a label is damaged.
        UsageError: The depth of the set has no prompt.
    """
    rgb, _ = decode_rgb(sample.photo, sample.key)
    size_hw = fit_canvas((rgb.shape[0], rgb.shape[1]), grid)
    photo = to_canvas(rgb, size_hw, _FILL)
    for task in sample.tasks:
        label = resample_nearest(sample.label(task, shards.manifest), size_hw)
        if label.valid_fraction < MIN_VALID_FRACTION:
            count(counts, f"labels with less than {MIN_VALID_FRACTION:.0%} valid pixels, left out")
            continue
        classes = shards.manifest.classes if TASKS[task].class_list == "classes" else ()
        prompts = draw_prompts(label, draw_rng(seed, epoch, sample.key, task), classes=classes)
        if not prompts:
            count(counts, "labels that show nothing to name in a prompt, left out")
        for number, prompt_spec in enumerate(prompts):
            key = sample.key.encode()[:_FOLDER_BYTES].decode(errors="ignore")
            name = f"{key}.{task}" + (f".{number}" if len(prompts) > 1 else "")
            yield EditPair(name, task, photo, prompt_spec, target_image(label, prompt_spec))


class _Pairs:
    """What both layouts share."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write all pairs of the set.

        Raises:
            UsageError: No label of the set can be a target.
        """
        counts: dict[str, int] = {}
        pairs = (
            pair
            for sample in labeled_samples(shards, list(Task), options, counts)
            for pair in edit_pairs(sample, shards, counts)
        )
        self._write_pairs(pairs, folder, counts)
        if not counts.get("pairs"):
            reasons = "; ".join(f"{number} {what}" for what, number in counts.items())
            raise UsageError(f"{shards.folder}: no label can be a target: {reasons}", hint="use denser labels")
        return counts

    def _write_pairs(self, pairs: Iterator[EditPair], folder: Path, counts: dict[str, int]) -> None:
        raise NotImplementedError

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Raise: the pairs cannot be read back as labels."""
        raise DistillError(f"{path}: edit pairs are only exported", hint="keep the shards")


class EditPairs(_Pairs):
    """``imagefolder`` of the datasets library with ``metadata.jsonl``: the columns of diffusers' InstructPix2Pix.

    Columns: ``input_image``, ``edit_prompt``, ``edited_image``, ``task``.
    """

    def _write_pairs(self, pairs: Iterator[EditPair], folder: Path, counts: dict[str, int]) -> None:
        for part in ("input", "edited"):
            (folder / "train" / part).mkdir(parents=True)
        with (folder / "train" / "metadata.jsonl").open("w", encoding="utf-8") as file:
            for pair in pairs:
                photo, edited = f"input/{pair.name}.jpg", f"edited/{pair.name}.png"
                (folder / "train" / photo).write_bytes(encode_jpeg(pair.photo))
                (folder / "train" / edited).write_bytes(encode_map(pair.target))
                row = {
                    "input_image_file_name": photo,
                    "edit_prompt": pair.prompt_spec.prompt,
                    "edited_image_file_name": edited,
                    "task": str(pair.task),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count(counts, "pairs")


class EditPairFolders(_Pairs):
    """``control/`` and ``target/`` with images of equal names, and the prompt next to each target as text.

    The layout of ai-toolkit, musubi-tuner and other trainers of low-rank weights.
    """

    def _write_pairs(self, pairs: Iterator[EditPair], folder: Path, counts: dict[str, int]) -> None:
        for part in ("control", "target"):
            (folder / part).mkdir(parents=True)
        for pair in pairs:
            (folder / "control" / f"{pair.name}.png").write_bytes(encode_map(pair.photo))
            (folder / "target" / f"{pair.name}.png").write_bytes(encode_map(pair.target))
            (folder / "target" / f"{pair.name}.txt").write_text(pair.prompt_spec.prompt + "\n", encoding="utf-8")
            count(counts, "pairs")
