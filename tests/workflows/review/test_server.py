"""The local server: pages of a large set, saved verdicts, and who is refused."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.datasets.review.items import list_items
from distill.datasets.review.verdicts import read_verdicts
from distill.datasets.shard_set import ShardSet
from distill.errors import UsageError
from distill.runtime.progress import SilentReporter
from distill.tasks import Task
from distill.workflows.review.generated import GeneratedImages
from distill.workflows.review.server import ReviewServer
from tests.builders.browser import open_page
from tests.builders.label_sets import photo, sample, write_set


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    samples = [sample(photo(i), [Task.DEPTH, Task.SEMANTIC], seed=i, quality=i / 70) for i in range(65)]
    return write_set(tmp_path_factory.mktemp("server") / "set", samples, shard_size=16)


@pytest.fixture
def server(shards: ShardSet, tmp_path: Path) -> Iterator[ReviewServer]:
    items = list_items(shards, (), SilentReporter())
    server = ReviewServer(shards, items, GeneratedImages(shards.folder, None), tmp_path / "verdicts.json")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(10)


def ask(server: ReviewServer, method: str, path: str, *, host: str = "", body: str = "", origin: str = "") -> int:
    port = int(server.address.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": host or f"127.0.0.1:{port}"} | ({"Origin": origin} if origin else {})
    connection.request(method, path, body=body.encode() or None, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_who_is_refused(server: ReviewServer, tmp_path: Path) -> None:
    good = json.dumps({"format": 1, "reviewed": {"sha256": "0" * 64}, "verdicts": []})
    assert ask(server, "GET", server.path) == 200
    assert ask(server, "GET", server.path + "item/0") == 200
    for number in ("130", "-1", "1e3", "../0", "", "%D9%A3"):
        assert ask(server, "GET", f"{server.path}item/{number}") == 404
    assert ask(server, "GET", "/") == 404
    assert ask(server, "GET", "/guess/item/0") == 404
    assert ask(server, "GET", server.path, host="evil.example") == 404
    assert ask(server, "POST", server.path + "verdicts", body="{}") == 400
    assert ask(server, "POST", server.path + "verdicts", body=good) == 400, "verdicts on another set"
    assert ask(server, "POST", server.path + "verdicts", body=good, origin="http://evil.example") == 400
    assert not (tmp_path / "verdicts.json").exists()


def test_pages_and_saved_verdicts(server: ReviewServer, shards: ShardSet, tmp_path: Path) -> None:
    with open_page(server.address) as watched:
        page = watched.page
        page.wait_for_selector("#facts div")
        assert "page 1 of 3" in page.inner_text("#pages")
        page.keyboard.press("n")
        page.keyboard.press("n")
        watched.wait("document.querySelectorAll('#thumbs img').length === 10")
        assert "61 of 65" in page.inner_text("#where")
        with page.expect_response(lambda reply: reply.request.method == "POST") as saved:
            page.keyboard.press("r")
        assert saved.value.status == 200
        assert watched.problems == []
        assert all(url.startswith(server.address) for url in watched.outside)
    (verdict,) = read_verdicts(tmp_path / "verdicts.json").verdicts
    assert verdict.verdict == "reject" and verdict.key == shards[60].key
    assert verdict.key in server.page().decode()


def test_a_file_of_another_set_is_not_overwritten(shards: ShardSet, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"format": 1, "reviewed": {"sha256": "0" * 64}, "verdicts": []}))
    with pytest.raises(UsageError, match="another set"):
        ReviewServer(shards, {}, GeneratedImages(shards.folder, None), path)
