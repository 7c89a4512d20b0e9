"""All slices of a labeling done: one set with one ``dataset.json``."""

from __future__ import annotations

import os
from pathlib import Path

from distill.errors import DistillError
from distill.shards import Manifest, write_manifest
from distill.tasks import Gauge, Task
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.shard_stats import Page


def publish(job: Job) -> tuple[Manifest, list[Page]] | None:
    """Write ``dataset.json`` when every slice is done; gives it with all accounts, or None when some are missing.

    Raises:
        DistillError: The depth maps have different gauges and cannot be one set.
    """
    pages = [job.read_page(index) for index in range(job.num_slices)]
    done = [page for page in pages if page is not None]
    if len(done) < len(pages):
        return None
    gauges = list(dict.fromkeys(gauge for page in done for gauge in page.gauges))
    if len(gauges) > 1:
        raise DistillError(
            f"the answers hold depth of different gauges ({', '.join(gauges)}), which no student can learn together",
            hint="label each gauge into its own --out",
        )
    counts: dict[str, int] = {}
    for page in done:
        for task, count in page.counts.items():
            counts[task] = counts.get(task, 0) + count
    manifest = Manifest(
        tasks=tuple(task for task in Task if task in counts),
        counts=counts,
        gauge=gauges[0] if gauges else Gauge.METRIC,
        classes=job.teacher.classes if Task.SEMANTIC in job.teacher.tasks else (),
        referring=tuple(dict.fromkeys(name for page in done for name in page.referring)),
        instance_classes=tuple(dict.fromkeys(name for page in done for name in page.instance_classes)),
        shards=tuple(page.shard for page in done if page.shard is not None),
        teachers=tuple(dict.fromkeys(name for page in done for name in page.teachers)) or (job.teacher.name,),
        licenses=tuple(dict.fromkeys(name for page in done for name in page.licenses)) or (job.teacher.license,),
        terms={name: link for page in done for name, link in page.licenses.items() if link},
        prompts={key: text for page in done for key, text in page.prompts.items()},
    )
    write_manifest(job.out, manifest)
    for part in job.out.glob(".shard-*.part"):
        if not _has_living_writer(part):
            part.unlink(missing_ok=True)
    return manifest, done


def _has_living_writer(part: Path) -> bool:
    """Whether the process that a half-written tar is named after still runs: two jobs may share an --out."""
    number = part.name.removesuffix(".part").rpartition(".")[2]
    try:
        os.kill(int(number), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
