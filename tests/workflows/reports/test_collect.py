"""Pages of a report in a browser: no error, no request, links that resolve, sorting, phones, accessibility."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.workflows.reports.collect import write_collected_report
from tests.builders.browser import accessibility_faults, open_page

HOSTILE = "<img src=x onerror=alert(1)>"
SCORES = {
    "student": {"miou": 0.61, "pixel_accuracy": 0.8, "images": 12, "pixels": 4000, "coverage": 1.0, "missing": 0},
    "baseline": {"miou": 0.11, "pixel_accuracy": 0.3, "images": 12, "pixels": 4000, "coverage": 1.0, "missing": 0},
}
CLASSES = ["road", HOSTILE, "a class with a very long name that has to wrap"]


def write_project(folder: Path) -> Path:
    """Results of every step, as the verbs write them, with a class that is markup."""
    run = folder / "run"
    for name in ("evaluate/worst", "bench", "predictions"):
        (run / name).mkdir(parents=True)
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(run / "evaluate" / "worst" / "a.jpg")
    (run / "predictions" / "clip é.mp4").write_bytes(b"no video")
    rows = [{"step": step, "train_loss": 3 / step, "val_semantic_miou": step / 200} for step in range(10, 100, 10)]
    semantic = {
        "protocol": {"crop": "none"},
        "scores": SCORES,
        "ratios": {"baseline": {"miou": 5.5}},
        "slices": {"brightness of the photo (mIoU)": {"dark": {"student": 0.5, "baseline": 0.1}}},
        "classes": CLASSES,
        "per_class": {name: {"iou": {"student": 0.5, "baseline": 0.1}, "pixels": 9} for name in CLASSES},
        "confusion": {"student": [[90, 5, 5, 0], [10, 80, 10, 0], [0, 0, 7, 3]]},
        "reliability": [{"confidence": 0.2, "error": 0.7, "pixels": 9}, {"confidence": 0.9, "error": 0.1, "pixels": 9}],
        "per_image": [{"image": f"photo {n}", "errors": {"student": n / 20, "baseline": 0.5}} for n in range(12)],
        "worst": [{"image": "photo 11", "image_error": 0.55, "pictures": [["worst/a.jpg", HOSTILE]]}],
    }
    evaluate = {
        "truth": "truth",
        "images": 12,
        "predictors": list(SCORES),
        "warnings": [],
        "tasks": {"semantic": semantic},
    }
    timings = [
        {"model": "nano", "scope": "engine", "batch": batch, "p50_ms": 3.0 * batch, "p95_ms": 4.0 * batch}
        | {"p99_ms": 5.0 * batch, "mean_ms": 3.2 * batch, "images_per_s": 300.0}
        for batch in (1, 4, 8)
    ]
    models = [{"name": "nano", "scores": {"miou": 0.6}}, {"name": "small", "scores": {"miou": 0.7}}]
    timings += [{**row, "model": "small", "images_per_s": 90.0} for row in timings]
    machine = {"processor": "one", "cores": 2, "load_before": 6.0}
    label = {"photos": 30, "labeled": 30, "answers": 30, "unanswered": [], "failed": [], "notes": [], "cost_usd": 3.0}
    label |= {"labels": {"semantic": 30}, "quality": {"semantic": 0.9}, "valid_fraction": {"semantic": 1.0}}
    contents = {
        "label": label | {"seconds": 300.0, "low_quality": []},
        "train": {"epochs": 3, "steps": 90, "elapsed_s": 60.0, "split": "by hash"},
        "history": rows,
        "evaluate/evaluate": evaluate,
        "bench/bench": {"machine": machine, "models": models, "timings": timings},
        "predictions/predictions": {"images": 9, "images_per_s": 30.0, "results": [{}]},
    }
    for name, values in contents.items():
        (run / f"{name}.json").write_text(json.dumps(values))
    (run / "train.provenance.json").write_text(json.dumps({"command": f"distill train --out run '{HOSTILE}'"}))
    return run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    return write_collected_report([write_project(folder)], folder / "report").path.parent


def test_every_step_has_a_page_and_the_summary_says_from_when_on_the_student_is_cheaper(site: Path) -> None:
    names = {path.stem for path in site.glob("*.html")}
    assert names == {"index", "labels", "training", "evaluation", "speed", "predictions"}
    page = (site / "index.html").read_text()
    # 3 USD for 30 photos are 0.10 USD a frame; the student costs nearly nothing.
    assert "cheaper than the teacher from 31 frames on" in page and "1,000.00 USD" in page
    assert "distill train --out run" in page and HOSTILE not in page
    assert "The machine was busy" in (site / "speed.html").read_text()


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_pages_ask_for_nothing_link_to_each_other_and_fit(site: Path, width: int, dark: bool) -> None:
    for path in sorted(site.glob("*.html")):
        with open_page(path.as_uri(), width=width, dark=dark) as watched:
            page = watched.page
            assert all(url.startswith(site.parent.as_uri()) for url in watched.outside), path
            assert [text for text in watched.problems if "no video" not in text and "ERR_" not in text] == []
            targets = page.eval_on_selector_all(
                "a, video", "all => all.map(one => one.href || one.currentSrc || one.src)"
            )
            for target in targets:
                assert target.startswith(("file:", "https://creativecommons")), target
            missing = page.eval_on_selector_all("nav.pages a", "all => all.map(one => one.getAttribute('href'))")
            assert missing and all((site / name).is_file() for name in missing)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("document.querySelector('img[onerror]')") is None
            assert accessibility_faults(page) == []


def test_numbers_are_in_sight_on_a_phone(site: Path) -> None:
    with open_page((site / "evaluation.html").as_uri(), width=390) as watched:
        cell = watched.page.locator("td.n").first.bounding_box()
        assert cell["x"] + cell["width"] <= 390


def test_tables_sort_by_mouse_and_keyboard_and_pictures_enlarge(site: Path) -> None:
    with open_page((site / "evaluation.html").as_uri()) as watched:
        page = watched.page
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        table = page.locator("table.sortable", has_text="photo 11").last
        head = table.locator("th button", has_text="student")
        head.focus()
        page.keyboard.press("Enter")
        assert table.locator("tbody td").first.inner_text() == "photo 0"
        head.click()
        assert table.locator("tbody td").first.inner_text() == "photo 11"
        page.locator(".gallery button").first.click()
        assert page.locator("dialog[open] figcaption").inner_text().startswith(HOSTILE)
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
