"""Whether eight bits pay: an artifact against its float32 sibling, timed in turns on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill.export.artifact import Artifact, set_aside
from distill.export.comparing import compare_calls
from distill.export.quantize import damage
from distill.export.timing import Timing


def refuse_slow(artifact: Artifact, made: Sequence[Artifact], timings: Sequence[Timing], min_gain: float) -> Artifact:
    """An int8 artifact is refused if it is slower than its float32 sibling anywhere, or gains too little everywhere."""
    sibling = next((other for other in made if other.engine == artifact.engine and other.precision == "fp32"), None)
    if artifact.precision != "int8" or artifact.status != "passed" or sibling is None:
        return artifact
    found = [
        compare_calls(theirs.calls_ms, ours.calls_ms, f"batch {ours.batch}")
        for ours in timings
        for theirs in timings
        if (ours.subject, theirs.subject) == (artifact.target, sibling.target) and ours.batch == theirs.batch
    ]
    words = "; ".join(f"{row.new_ms:.2f} ms against {row.base_ms:.2f} ms in float32 at {row.series}" for row in found)
    if any(row.verdict == "slower" for row in found):
        return set_aside(artifact, f"slower than {sibling.target} on this machine: {words}")
    gain = max((row.base_ms / row.new_ms for row in found), default=min_gain)
    if found and (gain < min_gain or not any(row.verdict == "faster" for row in found)):
        used = f"; it takes {damage(artifact.parity):.0%} of the accuracy budget" if artifact.parity else ""
        return set_aside(
            artifact,
            f"{gain:.2f} times the images/s of {sibling.target} at best on this machine, and {min_gain:g} times are"
            f" asked for (--min-gain): {words}{used}",
        )
    return replace(artifact, notes=(*artifact.notes, words)) if found else artifact
