"""Finish a labeling job: write ``dataset.json`` and the dataset card over all shards."""

from __future__ import annotations

from distill.datasets.dataset_card import write_card
from distill.errors import DistillError
from distill.files import writer_runs
from distill.shards import Manifest, write_manifest
from distill.tasks import TASKS, DepthKind, Task
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.shard_stats import ShardStats


def write_dataset_manifest(job: Job) -> tuple[Manifest, list[ShardStats]] | None:
    """Write ``dataset.json`` if every shard is done; returns it with all statistics, or None if shards are missing.

    Raises:
        DistillError: The depth maps have different depth kinds.
    """
    all_stats = [job.read_stats(index) for index in range(job.num_shards)]
    done = [stats for stats in all_stats if stats is not None]
    if len(done) < len(all_stats):
        return None
    depth_kinds = list(dict.fromkeys(depth_kind for stats in done for depth_kind in stats.depth_kinds))
    if len(depth_kinds) > 1:
        raise DistillError(
            f"the labels have different depth kinds ({', '.join(depth_kinds)}), and a student learns only one",
            hint="label each depth kind into its own --out",
        )
    counts: dict[str, int] = {}
    for stats in done:
        for task, count in stats.counts.items():
            counts[task] = counts.get(task, 0) + count
    has_classes = any(TASKS[task].class_list == "classes" for task in job.teacher.tasks)
    manifest = Manifest(
        tasks=tuple(task for task in Task if task in counts),
        counts=counts,
        depth_kind=depth_kinds[0] if depth_kinds else DepthKind.METRIC,
        classes=job.teacher.classes if has_classes else (),
        referring=tuple(dict.fromkeys(name for stats in done for name in stats.referring)),
        instance_classes=tuple(dict.fromkeys(name for stats in done for name in stats.instance_classes)),
        shards=tuple(stats.shard for stats in done if stats.shard is not None),
        teachers=tuple(dict.fromkeys(name for stats in done for name in stats.teachers)) or (job.teacher.name,),
        licenses=tuple(dict.fromkeys(name for stats in done for name in stats.licenses)) or (job.teacher.license,),
        terms={name: link for stats in done for name, link in stats.licenses.items() if link},
        prompts={key: text for stats in done for key, text in stats.prompts.items()},
    )
    write_manifest(job.out, manifest)
    write_card(job.out, manifest, (suffix for stats in done for suffix in stats.photo_suffixes))
    for part in job.out.glob(".shard-*.part"):
        if not writer_runs(part):
            part.unlink(missing_ok=True)
    return manifest, done
