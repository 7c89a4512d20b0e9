"""`distill answers`: look into a store of generated images, check it, hand it on, clear it up."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import Console
from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.teachers.store.answers import AnswerStore

_SHOWN = 20


class StoreAction(StrEnum):
    """What to do with a store."""

    LS = "ls"
    VERIFY = "verify"
    EXPORT = "export"
    GC = "gc"


class ForgetKind(StrEnum):
    """Answers that may be asked for anew."""

    REFUSED = "refused"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"


def answers(
    action: Annotated[
        StoreAction,
        typer.Argument(
            help="ls: what is there and what it cost; verify: read every byte; export: answers with a manifest for "
            "the replay teacher; gc: remove what kills left over."
        ),
    ],
    store: Annotated[Path, typer.Argument(help="The folder, as given to `distill label --store`.")] = Path("answers"),
    out: Annotated[Path | None, typer.Option(help="export: folder for answers and answers.yaml.")] = None,
    forget: Annotated[
        list[ForgetKind] | None,
        typer.Option(help="gc: also remove answers of this kind, which will be asked and paid for again."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="gc: remove; without it, only say what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Look after the answers that were paid for.

    Examples:
        distill answers ls answers

        distill answers verify answers

        distill answers export answers --out handed_on

        distill answers gc answers --forget unreadable --yes
    """
    console = Console(as_json=as_json)
    from distill.teachers.store.answers import AnswerStore

    if not store.is_dir():
        raise UsageError(f"{store}: no such folder", hint="name the folder that `distill label --store` used")
    if out is not None and action is not StoreAction.EXPORT:
        raise UsageError(f"--out belongs to export, not to {action}")
    if (forget or yes) and action is not StoreAction.GC:
        raise UsageError(f"--forget and --yes belong to gc, not to {action}")
    opened = AnswerStore(store)
    if action is StoreAction.LS:
        console.result(*_ls(opened))
    elif action is StoreAction.VERIFY:
        values, text = _verify(opened)
        console.result(values, text)
        if not values["intact"]:
            raise typer.Exit(1)
    elif action is StoreAction.EXPORT:
        if out is None:
            raise UsageError("where to?", hint="give --out FOLDER")
        console.result(*_export(opened, out))
    else:
        console.result(*_gc(opened, tuple(map(str, forget or ())), yes))


def _ls(store: AnswerStore) -> tuple[dict[str, Any], str]:
    from distill.teachers.store.answers import AnswerCorrupt
    from distill.teachers.store.ledger import Ledger
    from distill.teachers.store.maintenance import DAMAGED

    count, size, kinds = 0, 0, dict[str, int]()
    for key in store.all_keys():
        try:
            meta = store.meta(key) or {}
        except AnswerCorrupt:
            meta = {"kind": DAMAGED}
        count += 1
        size += int(meta.get("bytes", 0))
        kinds[str(meta.get("kind"))] = kinds.get(str(meta.get("kind")), 0) + 1
    totals: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    if (store.folder / "ledger.sqlite").is_file():
        ledger = Ledger(store.folder)
        totals = ledger.totals()
        problems = [row for row in ledger.rows() if row["state"] in ("failed", "refused", "empty")]
        ledger.close()
    values = {"answers": count, "bytes": size, "kinds": kinds, "requests": totals, "problems": problems}
    lines = [f"{count} answers, {size / 1e6:.1f} MB ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))})"]
    for row in totals:
        doubt = f", perhaps {row['uncertain_usd']:.2f} more" if row["uncertain_usd"] else ""
        lines.append(
            f"  {row['model']}: {row['requests']} {row['state']} in {row['attempts']} calls for "
            f"{row['cost_usd']:.2f} USD{doubt}"
        )
    lines += [f"  {row['subject']} ({row['task']}) {row['state']}: {row['detail']}" for row in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  ... and {len(problems) - _SHOWN} more; --json names all")
    return values, "\n".join(lines)


def _verify(store: AnswerStore) -> tuple[dict[str, Any], str]:
    from distill.teachers.store.maintenance import verify

    found = verify(store)
    values = {
        "intact": found.intact,
        "answers": found.answers,
        "damaged": [{"key": key, "reason": reason} for key, reason in found.damaged],
        "missing": found.missing,
        "orphans": [path.name for path in found.orphans],
        "leftovers": [path.name for path in found.leftovers],
    }
    lines = [f"{found.answers} answers are whole"]
    lines += [f"damaged: {reason} ({key[:16]})" for key, reason in found.damaged[:_SHOWN]]
    if found.damaged:
        lines.append("ask for them again: `distill answers gc STORE --forget damaged --yes`, then label as before")
    lines += [f"missing: {key[:16]} was answered and is not here" for key in found.missing[:_SHOWN]]
    if found.orphans or found.leftovers:
        lines.append(f"{len(found.orphans) + len(found.leftovers)} files left over by kills; `distill answers gc`")
    return values, "\n".join(lines)


def _export(store: AnswerStore, out: Path) -> tuple[dict[str, Any], str]:
    from distill.teachers.store.maintenance import export_answers

    counts = export_answers(store, out)
    return {"out": str(out), **counts}, (
        f"{counts['answers']} answers and {out / 'answers.yaml'}; {counts['left_out']} without a picture left out"
        f"{', ' + str(counts['damaged']) + ' damaged' if counts['damaged'] else ''}\n"
        f"read them with: distill label PHOTOS --teacher replay --answers {shlex.quote(str(out / 'answers.yaml'))}"
    )


def _gc(store: AnswerStore, forget: tuple[str, ...], apply: bool) -> tuple[dict[str, Any], str]:
    from distill.teachers.store.maintenance import collect_garbage

    counts = collect_garbage(store, forget=forget, apply=apply)
    what = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return {"removed": apply, **counts}, f"removed {what}" if apply else f"would remove {what}; --yes does it"
