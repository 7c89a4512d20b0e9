"""Label maps on disk as a teacher: ground truth or pseudo-labels."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.config.maps import MapConfig, MapsConfig
from distill.errors import DistillError
from distill.images import Photo
from distill.inputs.photo_lists import existing_file
from distill.labels import Label
from distill.tasks import TASKS, Task
from distill.teachers.adapters.map_finder import MapFinder
from distill.teachers.adapters.map_reader import read_map
from distill.teachers.adapters.photo_shape import check_shape
from distill.teachers.base import Dependencies, NoAnswer, PhotoRef, Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.quality.fusion import hflip_label
from distill.teachers.registration.align import warp_label
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.map_files import mask_label, unpack, weigh_channels


class MapsSpecialist(Specialist):
    """Reads the maps of a config."""

    def __init__(self, config: MapsConfig, folder: Path = Path(), tasks: Sequence[Task] = ()) -> None:
        """Paths of pairs are relative to `folder`.

        Args:
            config: Where the maps are, and what their numbers mean.
            folder: Of the config.
            tasks: Those that are wanted; empty: all. Other geometry is read where it is there, to check these.

        Raises:
            UsageError: A CSV of pairs is not readable.
        """
        self._wanted = tuple(task for task in config.maps() if not tasks or task in tasks)
        self._maps = {task: (one, MapFinder(one, folder)) for task, one in config.maps().items()}
        self._wanted_masks = {
            task: MapFinder(one, folder, masks=True)
            for task, one in config.maps().items()
            if one.valid and task in self._wanted
        }
        self._notes: dict[str, list[dict[str, Any]]] = {}

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """The maps of the photo; a CSV of pairs decides no more than which ones they are."""
        if "path" not in photo.origin or "frame" in photo.origin:
            return Dependencies()
        photo_path = Path(str(photo.origin["path"]))
        expected, missing = list[Path](), list[NoAnswer]()
        for finder in [*(self._maps[task][1] for task in self._wanted), *self._wanted_masks.values()]:
            try:
                expected.append(finder.expected(photo_path))
            except NoAnswer as error:
                missing.append(error)
        if missing and not expected:
            raise missing[0]
        paths = tuple(existing_file(path) or path for path in expected)
        return Dependencies("\n".join(path.name for path in paths), paths)

    def notes(self, photo: Photo) -> list[dict[str, Any]]:
        """Ids that were ignored because `remap` has no entry for them."""
        return self._notes.pop(photo.key, [])

    def predict(self, photo: Photo) -> list[Label]:
        """Labels of one photo, of the tasks that have a map; the others are noted.

        Raises:
            NoAnswer: No task has a map.
            DistillError: The photo is not a file, or a map is unreadable or differs from the config.
        """
        if "path" not in photo.origin or "frame" in photo.origin:
            raise DistillError(
                f"{photo.name}: maps are found by the photo's path, and this photo is not a file",
                hint="give a folder of photos",
            )
        path = Path(str(photo.origin["path"]))
        found, masks, missing = dict[Task, tuple[Path, MapConfig]](), dict[Task, Path](), list[NoAnswer]()
        for task in self._wanted:
            config, finder = self._maps[task]
            try:
                file = finder.find(path)
                if task in self._wanted_masks:
                    masks[task] = self._wanted_masks[task].find(path)
                found[task] = (file, config)
            except NoAnswer as error:
                missing.append(error)
                self._notes.setdefault(photo.key, []).append({"task": str(task), "reason": error.message})
        if not found and missing:
            self._notes.pop(photo.key, None)
            raise missing[0]
        wanted = {
            task: self._read_label(task, file, masks.get(task), config, photo) for task, (file, config) in found.items()
        }
        labels = {**self._other_geometry(path, photo), **wanted}
        for task, (file, config) in found.items():
            reader = teacher_task(task)
            if reason := reader.contradiction(labels[task], labels, config.frame) or reader.reject(labels[task]):
                raise DistillError(f"{file}: {reason}", hint="fix the config of the maps that are wrong")
        return list(wanted.values())

    def _other_geometry(self, path: Path, photo: Photo) -> dict[Task, Label]:
        """Labels of geometry that is not wanted, where its maps can be read."""
        labels = {}
        for task, (config, finder) in self._maps.items():
            if task not in self._wanted and TASKS[task].storage in ("depth", "normals"):
                with contextlib.suppress(DistillError):
                    labels[task] = self._read_label(task, finder.find(path), None, config, photo)
        return labels

    def _read_label(self, task: Task, path: Path, mask: Path | None, config: MapConfig, photo: Photo) -> Label:
        stored = read_map(
            path,
            array=config.array,
            usual_array=str(task),
            colors=bool(config.colors),
            alpha=config.packing == "float_bytes",
            exact=TASKS[task].storage in ("ids", "depth"),
        )
        stored = unpack(stored, config.packing, path)
        if config.channels:
            stored = weigh_channels(stored, config.channels, path)
        reader = teacher_task(task)
        label = reader.label_from_file(stored, config, path)
        if mask is not None:
            label = mask_label(label, read_map(mask), mask)
        if config.resize_mode is None:
            check_shape(label.size_hw, photo, str(path))
        self._note_unlisted(task, stored, config, photo)
        label = hflip_label(label) if config.mirror else label
        return warp_label(label, photo.size_hw, config.resize_mode or "fill")

    def _note_unlisted(self, task: Task, stored: Shaped[ndarray, "h w *c"], config: MapConfig, photo: Photo) -> None:
        if TASKS[task].class_list != "classes" or config.colors:
            return
        plain = stored[..., 0] if stored.ndim == 3 else stored
        ids = [one for one in config.class_ids.unlisted(plain) if one not in config.invalid and not np.isnan(one)]
        if ids:
            shown = ", ".join(f"{one:g}" for one in ids[:10]) + (" ..." if len(ids) > 10 else "")
            share = np.isin(plain, ids).mean()
            reason = f"remap has no entry for id {shown}: these pixels ({share:.1%}) have no label"
            self._notes.setdefault(photo.key, []).append({"task": str(task), "reason": reason})


def build_maps(config: MapsConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a maps config.

    Raises:
        UsageError: A CSV of pairs is not readable.
    """
    specialist = MapsSpecialist(config, folder, context.tasks)
    return PredictiveTeacher(
        specialist,
        name=config.name,
        license=config.license,
        terms=config.terms,
        tasks=tuple(config.maps()),
        classes=config.classes,
        quality_filter=context.quality_filter,
        min_valid={task: one.min_valid for task, one in config.maps().items()},
        notes=specialist.notes,
    )
