"""How good a student is on the validation photos, as sums that ranks can add; larger scores are better.

These few numbers choose the best weights. `distill evaluate` gives the full set against truth.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.spec import StudentSpec
from distill.students.data.batch import Batch
from distill.students.losses.depth import normalize
from distill.students.losses.reduction import EPSILON, mean_per_image
from distill.tasks import FAR_WARP, DepthKind, Task, unwarp_depth

_MAX_RATIO = 1.25


class ValidationMetrics:
    """Sums over validation batches.

    No module and no buffers: the averaging of weights swaps every buffer of the module around a validation.
    """

    def __init__(self, spec: StudentSpec) -> None:
        self._spec = spec
        self._classes = len(spec.semantic.classes) if spec.semantic else 0
        self.reset(torch.device("cpu"))

    def reset(self, device: torch.device) -> None:
        """Forget everything."""
        self._depth = torch.zeros(3, dtype=torch.float64, device=device)
        self._normals = torch.zeros(2, dtype=torch.float64, device=device)
        self._confusion = torch.zeros(self._classes**2, dtype=torch.float64, device=device)
        self._instances = torch.zeros(2, dtype=torch.float64, device=device)

    def sums(self) -> tuple[Tensor, ...]:
        """All sums, to be added up over ranks in place."""
        return self._depth, self._normals, self._confusion, self._instances

    @torch.no_grad()
    def update(self, outputs: dict[str, Tensor], batch: Batch) -> None:
        """Add the final values of one batch."""
        if batch.depth is not None:
            self._add_depth(outputs["depth"], batch.depth, batch.weights[Task.DEPTH])
        if batch.normals is not None:
            valid = batch.weights[Task.NORMALS] > 0
            cosine = (outputs["normals"] * batch.normals.permute(0, 2, 3, 1)).sum(dim=-1)
            degrees = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
            self._normals += torch.stack([degrees[valid].double().sum(), valid.sum().double()])
        if batch.semantic is not None:
            valid = (batch.weights[Task.SEMANTIC] > 0) & (batch.semantic < self._classes)
            pairs = batch.semantic[valid] * self._classes + outputs["semantic"][valid].long()
            self._confusion += torch.bincount(pairs, minlength=self._classes**2).double()

        if batch.instance is not None:
            weight = batch.weights[Task.INSTANCE]
            for predicted, truth, known in zip(outputs["instance"], batch.instance, weight > 0, strict=True):
                self._instances += match_instances(predicted[known].long(), truth[known]).double()

    def _add_depth(self, value: Tensor, target: Tensor, weight: Tensor) -> None:
        """Sums of (AbsRel, delta1, pixels); for relative depth kinds (aligned absolute error, share below 0.25, images)."""
        if self._spec.depth is not None and self._spec.depth.depth_kind is not DepthKind.METRIC:
            valid = (weight > 0).float()
            error = (normalize(value, valid) - normalize(target, valid)).abs()
            close = mean_per_image((error < 0.25).float(), valid)
            used = valid.flatten(1).any(dim=1)
            found = [mean_per_image(error, valid)[used].sum(), close[used].sum(), used.sum()]
        else:
            valid = (weight > 0) & (target < FAR_WARP)
            meters, truth = value[valid], unwarp_depth(target[valid]).clamp(min=1e-3)
            ratio = torch.maximum(meters / truth, truth / meters.clamp(min=1e-3))
            found = [((meters - truth).abs() / truth).sum(), (ratio < _MAX_RATIO).sum(), valid.sum()]
        self._depth += torch.stack([number.double() for number in found])

    def compute(self) -> dict[str, float]:
        """The scores so far; ``score`` is their mean in [0, 1], the one number that chooses the best weights.

        A task without a labeled pixel has no score; without any at all, ``score`` is 0.
        """
        found, parts = dict[str, float](), []
        if self._spec.depth is not None and bool(self._depth[2] > 0):
            error, good = (self._depth[:2] / self._depth[2]).tolist()
            is_metric = self._spec.depth.depth_kind is DepthKind.METRIC
            found |= {"depth_abs_rel" if is_metric else "depth_aligned_error": error}
            found |= {"depth_delta1" if is_metric else "depth_aligned_close": good}
            parts.append(good)
        if self._spec.normals is not None and bool(self._normals[1] > 0):
            degrees = float(self._normals[0] / self._normals[1])
            found["normals_mean_deg"] = degrees
            parts.append(1.0 - degrees / 180.0)
        if self._spec.semantic is not None and bool(self._confusion.sum() > 0):
            found["semantic_miou"] = self._miou()
            parts.append(found["semantic_miou"])
        if self._spec.instance is not None and bool(self._instances[1] > 0):
            found["instance_f1"] = float(self._instances[0] / self._instances[1])
            parts.append(found["instance_f1"])
        return found | {"score": sum(parts) / max(1, len(parts))}

    def _miou(self) -> float:
        confusion = self._confusion.view(self._classes, self._classes)
        hit = confusion.diagonal()
        union = confusion.sum(dim=0) + confusion.sum(dim=1) - hit
        present = confusion.sum(dim=1) > 0
        return float((hit / union.clamp(min=EPSILON))[present].mean()) if bool(present.any()) else 0.0


def match_instances(predicted: Int[Tensor, " n"], truth: Int[Tensor, " n"]) -> Float[Tensor, " 2"]:
    """(twice the instances that match, instances of either side) of one picture's pixels; their quotient is the F1.

    Two match that share more than half of the pixels of both together, so that none matches twice. 0 is background.
    """
    ids, index = torch.unique(torch.cat([predicted.new_zeros(1), predicted]), return_inverse=True)
    true_ids, true_index = torch.unique(torch.cat([truth.new_zeros(1), truth]), return_inverse=True)
    shape = (len(true_ids), len(ids))
    shared = torch.bincount(true_index * len(ids) + index, minlength=shape[0] * shape[1]).view(shape)
    union = shared.sum(dim=0) + shared.sum(dim=1, keepdim=True) - shared
    hits = (2 * shared[1:, 1:] > union[1:, 1:]).sum()
    return torch.stack([2 * hits, hits.new_tensor(shape[0] + shape[1] - 2)]).float()
