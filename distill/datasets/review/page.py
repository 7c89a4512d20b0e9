"""Review page: one self-contained HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from distill.datasets.review.items import ReviewItem
from distill.datasets.review.verdicts import FORMAT, ReviewedSet, Verdict
from distill.escaping import for_html, for_terminal
from distill.report.viewer import embed_json, viewer_script, viewer_style
from distill.tasks import TASKS, Task

_KEYS = {
    "next, previous label": "j k or arrows",
    "accept, reject": "a r",
    "undo": "u",
    "ignore the class under the pointer": "i",
    "draw a region to ignore": "d",
    "zoom in, out, fit": "+ - 0, wheel",
    "move the slider": "[ ] or drag",
    "next, previous page": "n p",
    "download the verdicts": "s",
}


def to_page(
    reviewed: ReviewedSet,
    items: Sequence[ReviewItem],
    totals: Mapping[Task, int],
    *,
    pictures: Mapping[str, Mapping[str, Any]] | None = None,
    server: str = "",
    verdicts: Sequence[Verdict] = (),
) -> str:
    """The page as HTML.

    Args:
        reviewed: The set.
        items: Labels in the order in which they are shown.
        totals: Labels of each task in the set.
        pictures: What `item_pictures` gives, by `item_id`; None: the page requests them from `server`.
        server: Path of the server that also saves the verdicts; empty: none.
        verdicts: To start with.
    """
    tasks = list(dict.fromkeys(item.task for item in items))
    data = {
        "format": FORMAT,
        "page": _page_digest(reviewed, items),
        "reviewed": reviewed.model_dump(mode="json"),
        "server": server,
        "tasks": [
            {
                "task": task,
                "title": TASKS[task].title,
                "total": totals[task],
                "shown": sum(item.task is task for item in items),
            }
            for task in tasks
        ],
        "items": [_item(item, number) for number, item in enumerate(items)],
        "pictures": pictures,
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
    }
    folder = resources.files("distill.datasets.review")
    script = viewer_script() + folder.joinpath("page.js").read_text()
    page_style = resources.files("distill.report").joinpath("page.css").read_text()
    style = page_style + viewer_style() + folder.joinpath("page.css").read_text()
    title = f"Review of {reviewed.name}" if reviewed.name else "Review"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script, bool(server))}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{for_html(title)}</title><style>{style}</style></head><body><main class='review'>"
        f"<header><h1>{for_html(title)}</h1><p class='lead'>{for_html(_lead(reviewed, tasks, items))}</p></header>"
        f"{folder.joinpath('page.html').read_text().replace('$keys', _key_list())}</main>"
        f"<script id='data' type='application/json'>{embed_json(data)}</script>"
        f"<script>{script}</script></body></html>\n"
    )


def item_id(number: int) -> str:
    """Name of an item in the page, by its place in the order."""
    return str(number)


def _lead(reviewed: ReviewedSet, tasks: Sequence[Task], items: Sequence[ReviewItem]) -> str:
    teachers = f" by {', '.join(reviewed.teachers)}" if reviewed.teachers else ""
    titles = ", ".join(TASKS[task].title.lower() for task in tasks)
    return f"{len(items)} labels ({titles}){teachers}. Accept or reject them, and download the verdicts."


def _item(item: ReviewItem, number: int) -> dict[str, Any]:
    return {
        "id": item_id(number),
        "key": item.key,
        "task": item.task,
        "name": for_terminal(item.name),
        "quality": item.quality,
        "parts": dict(item.parts),
    }


def _page_digest(reviewed: ReviewedSet, items: Sequence[ReviewItem]) -> str:
    """Name under which a browser keeps the verdicts: other pages of the same set must not overwrite them."""
    names = [reviewed.sha256, *(f"{item.task} {item.key}" for item in items)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _policy(script: str, has_server: bool) -> str:
    """Rules for the browser: this script only, pictures of the page itself, and no connection but to its own server."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    connect = "'self'" if has_server else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _key_list() -> str:
    return "".join(f"<div><dt>{for_html(what)}</dt><dd>{for_html(key)}</dd></div>" for what, key in _KEYS.items())
