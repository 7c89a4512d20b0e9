"""Viewer of labels in a browser: values, keys, strangers' text, and pages without a script."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from distill.labels import Label
from distill.report.viewer import label_pictures, viewer_gallery, viewer_script, viewer_style
from distill.tasks import Task
from tests.builders.browser import accessibility_faults, open_page

HOSTILE = "<img src=x onerror=document.title='ran'>"
PHOTO = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (40, 1, 3))


def label(task: Task) -> Label:
    shape, valid = PHOTO.shape[:2], np.ones(PHOTO.shape[:2], bool)
    valid[:5] = False
    confidence = np.where(valid, np.float32(0.8), np.float32(0))
    if task is Task.NORMALS:
        value = np.zeros((*shape, 3), np.float32)
        value[..., 0], value[..., 2] = 0.6, 0.8
        return Label(task, value, valid, confidence)
    if task is Task.DEPTH:
        return Label(task, np.full(shape, 3.25, np.float32), valid, confidence)
    if task is Task.EDGES:
        return Label(task, np.full(shape, 0.5, np.float32), valid, confidence)
    if task is Task.INSTANCE:
        return Label(task, np.full(shape, 7, np.uint16), valid, confidence, instance_classes={7: HOSTILE})
    return Label(task, np.full(shape, 1, np.uint8), valid, confidence, classes=("road", HOSTILE))


def write_page(path: Path, samples: list[dict[str, object]]) -> str:
    style = resources.files("distill.report").joinpath("page.css").read_text() + viewer_style()
    path.write_text(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>viewer</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{style}</style></head><body><main><h1>Viewer</h1>{viewer_gallery(samples)}</main>"
        f"<script>{viewer_script()}</script></body></html>"
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    tasks = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC, Task.INSTANCE, Task.EDGES)
    others = {HOSTILE: np.full((20, 30, 3), 90, np.uint8)}
    samples = [label_pictures(PHOTO, label(task), name=f"{task} {HOSTILE}", others=others) for task in tasks]
    return write_page(tmp_path_factory.mktemp("viewer") / "page.html", samples)


def test_a_label_of_a_large_photo_has_a_small_size() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), np.uint8)
    found = label_pictures(large, label(Task.DEPTH))
    assert (found["width"], found["height"]) == (400, 300)
    assert sum(len(text) for text in found.values() if isinstance(text, str)) < 250_000
    assert viewer_gallery([]) == ""


def test_values_of_every_task(page: str) -> None:
    words = ("3.25 m", "x 0.60 right, y 0.00 up, z 0.80 to the camera; 37 degrees", HOSTILE, f"{HOSTILE} (id 7)")
    with open_page(page) as watched:
        opened = watched.page
        for number, text in enumerate((*words, "edge probability 0.50")):
            opened.locator(".samples button").nth(number).click()
            watched.wait(
                f"document.querySelectorAll('.samples button')[{number}].getAttribute('aria-current') == 'true'"
            )
            title = f"photo of {['depth', 'normals', 'semantic', 'instance', 'edges'][number]}"
            watched.wait(f"document.querySelector('.stage img')?.alt.startsWith('{title}')")
            box = opened.locator(".stage").bounding_box()
            opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            shown = opened.inner_text(".read")
            assert shown.startswith(text) and shown.endswith("; confidence 0.80")
            opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + 3)
            assert opened.inner_text(".read") == "no label here"
        assert opened.title() == "viewer" and watched.problems == [] and watched.outside == []


@pytest.mark.parametrize(("width", "dark"), [(1440, True), (390, False)])
def test_keys_and_accessibility(page: str, width: int, dark: bool) -> None:
    with open_page(page, width=width, dark=dark) as watched:
        opened = watched.page
        watched.wait("document.querySelector('.stage img')")
        assert accessibility_faults(opened) == []
        opened.focus(".stage")
        for key in ("+", "+", "ArrowRight", "["):
            opened.keyboard.press(key)
        assert opened.get_attribute(".stage", "data-zoom") == "2.25"
        assert opened.inner_text(".read").startswith("center: 3.25 m")
        assert opened.input_value(".split input") == "40"
        opened.keyboard.press("0")
        assert opened.get_attribute(".stage", "data-zoom") == "1.00"
        opened.locator(".split select").last.select_option(f"other {HOSTILE}")
        assert opened.locator(".stage .over img").get_attribute("alt").startswith(HOSTILE)
        assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert watched.problems == [] and watched.outside == []


def test_pinch_zooms(page: str) -> None:
    with open_page(page) as watched:
        watched.wait("document.querySelector('.stage img')")
        watched.page.evaluate(
            """() => {
              const stage = document.querySelector(".stage"), box = stage.getBoundingClientRect();
              stage.setPointerCapture = () => {};
              const send = (kind, pointerId, x) => stage.dispatchEvent(new PointerEvent(kind,
                {pointerId, clientX: box.left + x, clientY: box.top + 50, bubbles: true}));
              send("pointerdown", 1, 100); send("pointerdown", 2, 140);
              send("pointermove", 2, 141); send("pointermove", 2, 200);
            }"""
        )
        assert float(watched.page.get_attribute(".stage", "data-zoom")) > 2
