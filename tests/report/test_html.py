"""One result, three forms: JSON for machines, Markdown for terminals, HTML that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.report import (
    CaptionedImage,
    ColorKey,
    Curve,
    Curves,
    Gallery,
    KeyValues,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    format_cell,
    to_html,
    to_json,
    to_markdown,
    write_report,
)
from distill.report.html import MAX_IMAGE_PX

VOID = {"meta", "img"}


@pytest.fixture
def report() -> Report:
    photo = np.random.default_rng(0).integers(0, 255, (900, 1300, 3)).astype(np.uint8)
    ids = np.zeros((10, 20, 3), np.uint8)
    ids[:, 10:] = (200, 30, 90)
    steps = list(range(2000))
    return Report(
        title="Student <nano> & teacher",
        summary="It works.",
        sections=[
            Section("Result", [Metrics([Metric(0.93, "delta1", "teacher 0.95")]), Text("One.\n\nTwo <b>.")]),
            Section("Warning", [Text("Careful.", "warning"), KeyValues({"crop": "none", "images": 1234}, "Terms")]),
            Section(
                "Scores",
                [
                    Table(
                        ["metric", "a|b", "c"],
                        [["mIoU", 0.5, math.nan], ["n", 12345, None]],
                        "T",
                        "note",
                        frozenset({(0, 1)}),
                    )
                ],
            ),
            Section(
                "Pictures",
                [
                    ColorKey({"road": (1, 2, 3)}),
                    Gallery([CaptionedImage(photo, "photo 'x'")], 2, "Photos"),
                    Gallery([CaptionedImage(ids, "ids")], 1, lossless=True),
                ],
            ),
            Section(
                "Curves",
                [
                    Curves(
                        "Loss", [Curve("train", steps, [math.exp(-x / 300) for x in steps])], "step", "loss", log_y=True
                    ),
                    Curves("Odd", [Curve("val", [1, 2, 3], [math.nan, 2.0, 2.0]), Curve("none", [], [])]),
                    Curves("Empty", [Curve("nothing", [], [])]),
                ],
            ),
        ],
        facts={"python": "3.11"},
    )


class _Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    page, parser = to_html(report), _Balance()
    parser.feed(page)
    assert parser.open == []
    assert all(source.startswith(("data:image/", "#s")) for source in parser.sources)
    assert page.count("<script>") == 1 and "@import" not in page
    # The namespaces of SVG are names; nothing is loaded from there.
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert "prefers-color-scheme:dark" in page and "width=device-width" in page


def test_names_cannot_become_markup(report: Report) -> None:
    page = to_html(report)
    assert "Student &lt;nano&gt; &amp; teacher" in page and "Two &lt;b&gt;." in page
    assert "<nano>" not in page and "photo 'x'" not in page


def test_pictures_are_inside_shrunk_and_flat_colors_stay_exact(report: Report) -> None:
    found = re.findall(r"data:image/(jpeg|png);base64,([A-Za-z0-9+/=]+)", to_html(report))
    pictures = {kind: Image.open(io.BytesIO(base64.b64decode(data))) for kind, data in found}
    assert max(pictures["jpeg"].size) == MAX_IMAGE_PX
    assert np.array_equal(np.unique(np.asarray(pictures["png"]).reshape(-1, 3), axis=0), [[0, 0, 0], [200, 30, 90]])


def test_long_curves_are_thinned_and_values_that_cannot_be_drawn_left_out(report: Report) -> None:
    page = to_html(report)
    lines = re.findall(r'<path d="(M[^"]*L[^"]*)" clip-path', page)
    assert max(line.count("L") for line in lines) <= 501
    assert "nan" not in " ".join(lines) and "nothing to plot" in page


def test_json_holds_every_block_and_no_nan(report: Report) -> None:
    page = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    kinds = [block["kind"] for section in page["sections"] for block in section["blocks"]]
    assert kinds == ["metrics", "text", "text", "keyvalues", "table", "colorkey", "gallery", "gallery", *["curves"] * 3]
    table = page["sections"][2]["blocks"][0]
    assert table["rows"] == [["mIoU", 0.5, None], ["n", 12345, None]]
    assert page["sections"][3]["blocks"][1]["captions"] == ["photo 'x'"]


def test_markdown_tables_are_aligned_and_escaped(report: Report) -> None:
    text = to_markdown(report)
    assert re.search(r"\| metric \| +a\\\|b \|", text) and "| mIoU   | **0.5000** |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert "> Careful." in text and "- images: 1,234" in text and "**0.9300** delta1 (teacher 0.95)" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (math.nan, "–"), (math.inf, "∞"), (True, "yes"), (0, "0"), (1234567, "1,234,567"),
        (0.0, "0.0000"), (0.08231, "0.0823"), (0.99996, "1.0000"), (8.2312, "8.231"), (823.12, "823.1"),
        (1000.0, "1,000"), (12345.6, "12,346"), (-0.5, "-0.5000"), (3.2e-7, "3.20e-07"), ("as it is", "as it is"),
        (np.float32(0.5), "0.5000"), (np.int64(7), "7"),
    ],
)  # fmt: skip
def test_values_are_written_as_people_read_them(value: object, text: str) -> None:
    assert format_cell(value) == text


def test_all_forms_are_written_beside_each_other(report: Report, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path / "new", "page")
    assert {path.name for path in paths.values()} == {"page.html", "page.md", "page.json"}
    assert all(path.stat().st_size > 100 for path in paths.values())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used as a folder"):
        write_report(report, tmp_path / "file", "page")
