"""One board per task: every contestant's scores, side by side, over the same truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.commands.scoring.contestants import Contestant
from distill.commands.scoring.fitting import crop_mask, fit_label
from distill.commands.scoring.judges import JUDGES, Rules, alignment_of
from distill.labels import Label
from distill.metrics import Difference, compare, intervals
from distill.shards import Manifest
from distill.tasks import Task


class Board:
    """All contestants on one task."""

    def __init__(self, task: Task, contestants: Sequence[Contestant], truth: Manifest, rules: Rules) -> None:
        self.task, self._rules = task, rules
        self.judges = {one.name: JUDGES[task](one, truth, rules) for one in contestants if task in one.tasks}
        self._asked = dict.fromkeys(self.judges, 0)
        self._answered = dict.fromkeys(self.judges, 0)
        self._missing = dict.fromkeys(self.judges, 0)
        self._owners: dict[str, list[int]] = {name: [] for name in self.judges}
        self.images = 0

    def update(
        self, truth: Label, answers: Mapping[str, Label], groups: UInt8[ndarray, "h w"] | None = None
    ) -> dict[str, float]:
        """How bad this image is, by contestant; larger is worse. Contestants without an answer are left out.

        `groups` are the truth's class ids, where it has any of the truth's size.
        """
        self.images += 1
        wanted = truth.valid & crop_mask(self._rules.crop, truth.size_hw)
        badness = {}
        for name, judge in self.judges.items():
            if name not in answers:
                self._missing[name] += 1
                continue
            value, valid = fit_label(answers[name], truth.size_hw, self._rules.max_depth_m, alignment_of(judge))
            counts = wanted & valid
            self._asked[name] += int(wanted.sum())
            self._answered[name] += int(counts.sum())
            before = len(judge.metrics)
            badness[name] = judge.update(answers[name], value, counts, truth, groups)
            self._owners[name] += [self.images - 1] * (len(judge.metrics) - before)
        return badness

    def rows_by_image(self, name: str) -> tuple[Float[ndarray, "n k"], Bool[ndarray, " n"]]:
        """(the sums of every image of the board, which of them have any) for one contestant."""
        rows, owners = self.judges[name].metrics.rows(), np.array(self._owners[name], int)
        total = np.zeros((self.images, rows.shape[1]))
        np.add.at(total, owners, rows)
        scored = np.zeros(self.images, bool)
        scored[owners] = True
        return total, scored

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Contestant to score to its 95 % interval over photos."""
        found = {}
        for name, judge in self.judges.items():
            rows, scored = self.rows_by_image(name)
            found[name] = intervals(rows[scored], judge.metrics.pool)
        return found

    def differences(self) -> dict[str, dict[str, Difference]]:
        """The first contestant against each other one, on the photos that both have a score for."""
        if not self.judges:
            return {}
        first, *others = self.judges
        rows, scored = self.rows_by_image(first)
        found = {}
        for name in others:
            theirs, their_scored = self.rows_by_image(name)
            both = scored & their_scored
            found[name] = compare(rows[both], theirs[both], self.judges[first].metrics.pool)
        return found

    def compute(self) -> dict[str, dict[str, Any]]:
        """Contestant to scores, with ``coverage`` (its share of the truth's pixels) and ``missing`` (photos)."""
        return {
            name: {
                **judge.compute(),
                "coverage": self._answered[name] / self._asked[name] if self._asked[name] else math.nan,
                "missing": self._missing[name],
                **judge.facts,
            }
            for name, judge in self.judges.items()
        }
