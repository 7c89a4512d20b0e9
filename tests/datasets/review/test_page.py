"""The review page in a browser: pictures, values, verdicts, and text of strangers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill.datasets.review.verdicts import read_verdicts
from distill.datasets.shard_set import ShardSet
from distill.tasks import Task, warp_depth
from distill.workflows.review.run import review
from tests.builders.browser import Watched, accessibility_faults, open_page
from tests.builders.label_sets import photo, sample, write_set

HOSTILE = "<img src=x onerror=document.title='ran'>"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("review") / "set"
    names = ("road", HOSTILE, "</script><script>document.title='ran'</script>")
    samples = [sample(photo(i), seed=i, quality=0.2 + i / 60, classes=names) for i in range(34)]
    return write_set(folder, samples, classes=names, shard_size=64)


@pytest.fixture(scope="module")
def page(shards: ShardSet) -> Path:
    return review(shards.folder, out=shards.folder.parent / "review.html", limit=33).out


def wait(watched: Watched) -> Any:
    watched.page.wait_for_selector("#facts div")
    watched.page.wait_for_selector("#thumbs img")
    return watched.page


def test_texts_cannot_end_their_element(page: Path) -> None:
    text = page.read_text()
    assert text.count("<script") == 2 and "</script><script>document" not in text and HOSTILE not in text
    assert re.search(r"default-src 'none'; script-src 'sha256-[^']+'", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_clean_and_accessible(page: Path, width: int, dark: bool) -> None:
    with open_page(page.as_uri(), width=width, dark=dark) as watched:
        opened = wait(watched)
        opened.click("#tasks button[data-task=semantic]")
        opened.wait_for_selector("#classes button")
        assert HOSTILE in opened.inner_text("#classes") and opened.title() == "Review of set"
        assert accessibility_faults(opened) == []
        sideways = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sideways == 0
        assert background == ("rgb(21, 23, 26)" if dark else "rgb(252, 252, 250)")
        assert watched.problems == [] and watched.outside == []


def test_values_under_the_pointer(page: Path, shards: ShardSet) -> None:
    label = shards.label(0, Task.DEPTH)
    with open_page(page.as_uri()) as watched:
        opened = wait(watched)
        box = opened.locator(".stage").bounding_box()
        row, column = 20, 30
        watched.wait("document.querySelector('.stage img')")
        opened.wait_for_timeout(300)
        opened.mouse.move(
            box["x"] + box["width"] * (column + 0.5) / label.size_hw[1],
            box["y"] + box["height"] * (row + 0.5) / label.size_hw[0],
        )
        shown = opened.inner_text(".read")
        meters = float(shown.split(" m;")[0])
        assert abs(float(warp_depth(meters)) - float(warp_depth(float(label.value[row, column])))) < 0.002
        assert f"confidence {label.confidence[row, column]:.2f}" in shown


def test_slider_zoom_and_keys(page: Path, tmp_path: Path) -> None:
    with open_page(page.as_uri()) as watched:
        opened = wait(watched)
        before = opened.evaluate("document.querySelector('.over').style.clipPath")
        opened.keyboard.press("]")
        assert opened.evaluate("document.querySelector('.over').style.clipPath") != before
        opened.keyboard.press("+")
        assert float(opened.get_attribute(".stage", "data-zoom")) == 1.5
        opened.locator(".stage").hover()
        opened.mouse.wheel(0, -100)
        watched.wait("Number(document.querySelector('.stage').dataset.zoom) > 1.5")
        opened.keyboard.press("0")
        assert float(opened.get_attribute(".stage", "data-zoom")) == 1

        first = opened.inner_text("#name")
        opened.keyboard.press("r")
        watched.wait(f"document.getElementById('name').textContent !== {json.dumps(first)}")
        opened.keyboard.press("a")
        assert "2 of 33 judged" in opened.inner_text("#count")
        opened.keyboard.press("u")
        watched.wait("document.getElementById('count').textContent.startsWith('1 of 33')")
        opened.select_option("#filter", "reject")
        assert opened.locator("#thumbs button").count() == 1
        opened.select_option("#filter", "all")

        opened.select_option("#sort", "best")
        labels = [one.get_attribute("aria-label") or "" for one in opened.locator("#thumbs button").all()]
        scores = [float(text.partition("quality ")[2].split(",")[0]) for text in labels]
        assert len(scores) == 30 and scores == sorted(scores, reverse=True)
        opened.click("#next")
        assert "page 2 of 2" in opened.inner_text("#pages") and opened.locator("#thumbs button").count() == 3
        opened.keyboard.press("p")
        assert "page 1 of 2" in opened.inner_text("#pages")

        opened.click("#tasks button[data-task=semantic]")
        opened.wait_for_selector("#classes button")
        opened.locator("#classes button").first.click()
        opened.keyboard.press("d")
        box = opened.locator(".stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        opened.mouse.move(x, y)
        opened.mouse.down()
        for dx, dy in ((60, 0), (60, 60), (0, 60), (-20, 20)):
            opened.mouse.move(x + dx, y + dy, steps=4)
        opened.mouse.up()
        assert "1 ignored region" in opened.inner_text("#region-count")
        opened.keyboard.press("Escape")
        with opened.expect_download() as download:
            opened.keyboard.press("s")
        download.value.save_as(tmp_path / "verdicts.json")
        assert watched.problems == [] and watched.outside == []
    found = {(one.task, one.verdict): one for one in read_verdicts(tmp_path / "verdicts.json").verdicts}
    assert found[Task.DEPTH, "reject"].quality == pytest.approx(0.2)
    masked = found[Task.SEMANTIC, None]
    assert len(masked.ignore_classes) == 1 and len(masked.ignore_regions[0]) > 5


def test_verdicts_survive_a_reload(page: Path) -> None:
    with open_page(page.as_uri()) as watched:
        opened = wait(watched)
        opened.keyboard.press("r")
        opened.reload()
        wait(watched)
        assert "1 of 33 judged" in opened.inner_text("#count")
