"""Pictures of a label for the review page, and where it comes from."""

from __future__ import annotations

from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.datasets.review.items import ReviewItem, task_record
from distill.images import decode_rgb
from distill.report.viewer import label_pictures
from distill.shards import Manifest, Sample

_MAX_TEXT = 600


def item_pictures(
    item: ReviewItem, sample: Sample, manifest: Manifest, generated: UInt8[ndarray, "h w 3"] | None = None
) -> dict[str, Any]:
    """What the page shows of one label, as JSON values.

    Args:
        item: The label.
        sample: Its sample.
        manifest: Of its set.
        generated: Image of the teacher, where it is at hand.

    Raises:
        DistillError: The photo or the label is damaged.
    """
    photo, _ = decode_rgb(sample.photo, sample.key)
    label, record = sample.label(item.task, manifest), task_record(sample.meta, item.task)
    expected = record.get("expected_error")
    return (
        label_pictures(photo, label, name=item.name, generated=generated)
        | {
            "valid": round(float(label.valid_fraction), 4),
            "expected_error": expected if isinstance(expected, int | float) else None,
        }
        | {name: str(record.get(name) or "")[:_MAX_TEXT] for name in ("prompt", "teacher", "model", "license")}
    )
