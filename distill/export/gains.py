"""Whether eight bits pay: an artefact against its float32 sibling, timed in turns on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill.export.artefact import Artefact, set_aside
from distill.export.comparing import compare_calls
from distill.export.quantize import damage
from distill.export.timing import Timing


def refuse_slow(artefact: Artefact, made: Sequence[Artefact], timings: Sequence[Timing], min_gain: float) -> Artefact:
    """An int8 artefact is refused if it is slower than its float32 sibling anywhere, or gains too little everywhere."""
    sibling = next((other for other in made if other.engine == artefact.engine and other.precision == "fp32"), None)
    if artefact.precision != "int8" or artefact.status != "passed" or sibling is None:
        return artefact
    found = [
        compare_calls(theirs.calls_ms, ours.calls_ms, f"batch {ours.batch}")
        for ours in timings
        for theirs in timings
        if (ours.subject, theirs.subject) == (artefact.target, sibling.target) and ours.batch == theirs.batch
    ]
    words = "; ".join(f"{row.new_ms:.2f} ms against {row.base_ms:.2f} ms in float32 at {row.series}" for row in found)
    if any(row.verdict == "slower" for row in found):
        return set_aside(artefact, f"slower than {sibling.target} on this machine: {words}")
    gain = max((row.base_ms / row.new_ms for row in found), default=min_gain)
    if found and (gain < min_gain or not any(row.verdict == "faster" for row in found)):
        used = f"; it takes {damage(artefact.parity):.0%} of the accuracy budget" if artefact.parity else ""
        return set_aside(
            artefact,
            f"{gain:.2f} times the images/s of {sibling.target} at best on this machine, and {min_gain:g} times are"
            f" asked for (--min-gain): {words}{used}",
        )
    return replace(artefact, notes=(*artefact.notes, words)) if found else artefact
