"""A fake of Google's image API: the real wire format over real HTTP, faults by dose, and its own count of paid answers.

Run as a program it prints its address; in a test, `FakeGemini` runs it in a thread. What it knows about paid answers it
counts when an answer is made, whether or not it arrives.

    POST /v1/models/MODEL:generateContent            POST /v1/models/MODEL:batchGenerateContent
    POST /upload/v1/files (resumable)                GET  /v1/batches, /v1/batches/NAME
    GET  /v1/files/NAME:download                     GET  /stats
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import json
import random
import re
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from aiohttp import web
from PIL import Image

SIZES_1K = {
    "1:1": (1024, 1024), "2:3": (1264, 848), "3:2": (848, 1264), "3:4": (1200, 896), "4:3": (896, 1200),
    "4:5": (1152, 928), "5:4": (928, 1152), "9:16": (1376, 768), "16:9": (768, 1376), "21:9": (672, 1584),
}  # fmt: skip
IMAGE_TOKENS = {"1K": 1120, "2K": 1680, "4K": 2520}
PHOTO_TOKENS = 1120
DOWN_HTML = "<html><head><title>503</title></head><body><h1>Service Unavailable</h1></body></html>"


@dataclass
class Faults:
    """Shares of calls, 0 to 1. The first group passes when one asks again, the second is decided by what is asked."""

    busy: float = 0.0
    error: float = 0.0
    html: float = 0.0
    slow: float = 0.0
    cut: float = 0.0
    """Connection closed before an answer is made."""
    cut_midway: float = 0.0
    """Connection closed while the answer, made and charged, is on its way."""
    no_json: float = 0.0

    refusal: float = 0.0
    prompt_block: float = 0.0
    recitation: float = 0.0
    bad_request: float = 0.0
    wrong_size: float = 0.0
    no_picture: float = 0.0
    """Bytes that are none."""
    mislabeled: float = 0.0
    """JPEG that is called PNG."""
    text_only: float = 0.0
    """By what is asked and by seed, so that another seed helps."""
    thought_only: float = 0.0
    draft_too: float = 0.0
    """A draft of the picture among the thoughts."""
    batch_error: float = 0.0
    """Lines of a batch that fail."""


@dataclass
class Settings:
    """How the fake behaves."""

    faults: Faults = field(default_factory=Faults)
    latency_s: float = 0.0
    slow_s: float = 5.0
    retry_delay_s: float = 0.05
    images_per_minute: float = 0.0
    """0: no limit."""
    concurrency: int = 0
    size: str = "canvas"
    """``canvas``: as asked; ``photo``: as large as the photo that was sent."""
    batch_s: float = 0.2
    batch_expires: bool = False
    echo_key: bool = False
    """Put the caller's key and a signed address into every error."""
    say_no: str = ""
    """To the question whether a thing that is so called is there."""
    down: bool = False
    quota_of_the_day: int = 0
    """Answers until the quota of the day is used up; 0: none."""
    seed: int = 0


class Fake:
    """The server's memory and its answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.made: Counter[str] = Counter()
        """Answers made, by what was asked."""
        self.seen: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.lost = self.requests = 0
        self.usage = {"read": 0, "text": 0, "image": 0}
        self.batch_usage = {"read": 0, "text": 0, "image": 0}
        self.in_flight = self.most_in_flight = 0
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.first_s = self.last_s = 0.0
        self._tokens, self._at = 0.0, time.monotonic()
        self._rng = random.Random(settings.seed)
        self.bodies: list[dict[str, Any]] = []
        """The last calls, as they came."""

    def stats(self) -> dict[str, Any]:
        return {
            "made": sum(self.made.values()),
            "asked_for": len(self.made),
            "duplicates": sum(count - 1 for count in self.made.values()),
            "lost": self.lost,
            "requests": self.requests,
            "outcomes": dict(self.outcomes),
            "usage": self.usage,
            "batch_usage": self.batch_usage,
            "most_in_flight": self.most_in_flight,
            "seconds": self.last_s - self.first_s,
            "batches": len(self.batches),
        }

    async def generate(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._generate(request)
        except ConnectionResetError:  # the caller has died; what was made was made
            return web.Response()
        finally:
            self.in_flight -= 1

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.bodies = [*self.bodies[-9:], body]
        key = request.headers.get("x-goog-api-key", "")
        if not key:
            return self._error(request, 403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
        if key == "wrong":
            details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
            return self._error(request, 400, "INVALID_ARGUMENT", "API key not valid.", details)
        model = request.match_info["model"]
        if model.startswith("no-such"):
            return self._error(request, 404, "NOT_FOUND", f"models/{model} is not found")
        self.first_s = self.first_s or time.monotonic()
        asked = what_is_asked(model, body)
        self.seen[asked] += 1
        fault = self._passing_fault()
        if fault:
            self.outcomes[fault] += 1
            return await self._fail(request, fault)
        if self.settings.quota_of_the_day and sum(self.made.values()) >= self.settings.quota_of_the_day:
            return self._busy(request, "GenerateRequestsPerDayPerProjectPerModel", 3600)
        await asyncio.sleep(self.settings.latency_s)
        answer = self.make(asked, body, self.usage)
        if isinstance(answer, web.Response):
            return answer
        data = json.dumps(answer).encode()
        if self._rng.random() < self.settings.faults.no_json:
            data = data[: len(data) // 2]
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
        await response.prepare(request)
        if self._rng.random() < self.settings.faults.cut_midway:
            self.lost += 1
            self.outcomes["cut_midway"] += 1
            await response.write(data[: len(data) // 2])
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write(data)
        self.last_s = time.monotonic()
        return response

    def _passing_fault(self) -> str:
        settings = self.settings
        if settings.down:
            return "html"
        if settings.concurrency and self.in_flight > settings.concurrency:
            return "too_many"
        dice = self._rng.random()
        for name in ("busy", "error", "html", "slow", "cut"):
            dice -= getattr(settings.faults, name)
            if dice < 0:
                return name
        if settings.images_per_minute:
            now = time.monotonic()
            per_s = settings.images_per_minute / 60
            # Two seconds' worth may come at once.
            self._tokens = min(2 * per_s, self._tokens + (now - self._at) * per_s)
            self._at = now
            if self._tokens < 1:
                return "too_fast"
            self._tokens -= 1
        return ""

    async def _fail(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault in ("busy", "too_many", "too_fast"):
            return self._busy(request, "GenerateImagesPerMinutePerProjectPerModel", self.settings.retry_delay_s)
        if fault == "error":
            return self._error(request, 500, "INTERNAL", "An internal error has occurred.")
        if fault == "html":
            return web.Response(status=503, text=DOWN_HTML + self._secret(request), content_type="text/html")
        if fault == "slow":
            await asyncio.sleep(self.settings.slow_s)
        request.transport.abort()
        return web.Response()

    def _busy(self, request: web.Request, quota: str, delay_s: float) -> web.Response:
        details = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay_s}s"},
        ]
        return self._error(request, 429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details)

    def _error(self, request: web.Request, code: int, status: str, message: str, details: Any = ()) -> web.Response:
        message += self._secret(request)
        body = {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
        return web.json_response(body, status=code)

    def _secret(self, request: web.Request) -> str:
        if not self.settings.echo_key:
            return ""
        key = request.headers.get("x-goog-api-key", "")
        return f" (key {key}, see https://storage.example/object?X-Goog-Signature={key}-signed)"

    def make(self, asked: str, body: dict[str, Any], usage: dict[str, int]) -> dict[str, Any] | web.Response:
        """The answer, counted as paid; which of the lasting faults it has is decided by what is asked."""
        faults, config = self.settings.faults, body.get("generationConfig") or body.get("generation_config") or {}
        dice = int(what_is_asked("", body, seedless=True)[:8], 16) / 0xFFFFFFFF
        seeded = int(asked[:8], 16) / 0xFFFFFFFF
        sentence = sentence_of(body)
        lasting = "bad_request", "prompt_block", "refusal", "recitation", "wrong_size", "no_picture", "mislabeled"
        fault = ""
        for name in lasting:
            dice -= getattr(faults, name)
            if dice < 0:
                fault = name
                break
        if not fault and seeded < faults.text_only:
            fault = "text_only"
        elif not fault and seeded < faults.text_only + faults.thought_only:
            fault = "thought_only"
        if fault == "bad_request":
            self.outcomes[fault] += 1
            error = {"code": 400, "message": "Unhandled generated data mime type.", "status": "INVALID_ARGUMENT"}
            return web.json_response({"error": error}, status=400)
        self.made[asked] += 1
        self.outcomes[fault or "good"] += 1
        if "IMAGE" not in config.get("responseModalities", config.get("response_modalities", [])):
            usage["read"] += PHOTO_TOKENS
            usage["text"] += 1
            named = self.settings.say_no and self.settings.say_no in sentence
            return _envelope([{"text": "(B)" if named else "(A)"}], "STOP", PHOTO_TOKENS, 1, 0)
        return self._picture(fault, asked, body, config, sentence, usage)

    def _picture(self, fault: str, asked: str, body: Any, config: Any, sentence: str, usage: Any) -> dict[str, Any]:
        usage["read"] += PHOTO_TOKENS
        if fault == "prompt_block":
            return {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": PHOTO_TOKENS},
            }
        if fault in ("refusal", "recitation"):
            finish = "IMAGE_SAFETY" if fault == "refusal" else "IMAGE_RECITATION"
            return {
                "candidates": [{"finishReason": finish, "index": 0}],
                "usageMetadata": {"promptTokenCount": PHOTO_TOKENS},
            }
        if fault in ("text_only", "thought_only"):
            usage["text"] += 20
            part = {"text": "I would rather describe it."} | ({"thought": True} if fault == "thought_only" else {})
            return _envelope([part], "STOP", PHOTO_TOKENS, 20, 0)
        image = config.get("imageConfig") or config.get("image_config") or {}
        size = image.get("imageSize", "1K")
        size_hw = self._size_hw(body, image)
        if fault == "wrong_size":
            size_hw = size_hw[0] // 2, size_hw[1]
        form = "jpeg" if fault == "mislabeled" else "png"
        data = paint(sentence, size_hw, int(asked[:4], 16) % 4, form)
        if fault == "no_picture":
            data = b"\x00this is no picture" + bytes(64)
        usage["image"] += IMAGE_TOKENS[size]
        drawn: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}
        parts = [{"text": "Let me think.", "thought": True}, drawn]
        if int(asked[8:12], 16) / 0xFFFF < self.settings.faults.draft_too:
            draft = base64.b64encode(paint("", size_hw, 0, "png")).decode()
            parts.insert(1, {"inlineData": {"mimeType": "image/png", "data": draft}, "thought": True})
        return _envelope(parts, "STOP", PHOTO_TOKENS, 0, IMAGE_TOKENS[size])

    def _size_hw(self, body: dict[str, Any], image: dict[str, Any]) -> tuple[int, int]:
        if self.settings.size == "photo":
            with Image.open(io.BytesIO(photo_of(body))) as photo:
                return photo.size[1], photo.size[0]
        times = {"1K": 1, "2K": 2, "4K": 4}[image.get("imageSize", "1K")]
        height, width = SIZES_1K[image.get("aspectRatio", "1:1")]
        return height * times, width * times

    async def start_upload(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Goog-Upload-Command") != "start":
            return await self.upload(request)
        upload_id = secrets.token_hex(8)
        self.uploads[upload_id] = bytearray()
        url = f"{request.scheme}://{request.host}{request.path}?upload_id={upload_id}&upload_protocol=resumable"
        key = request.headers.get("x-goog-api-key", "")
        url += f"&signature={key}-signed" if self.settings.echo_key else ""
        return web.json_response({}, headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    async def upload(self, request: web.Request) -> web.Response:
        buffer = self.uploads[request.query["upload_id"]]
        buffer += await request.read()
        if "finalize" not in request.headers.get("X-Goog-Upload-Command", ""):
            return web.json_response({}, headers={"X-Goog-Upload-Status": "active"})
        name = f"files/{secrets.token_hex(6)}"
        self.files[name] = bytes(buffer)
        file = {"name": name, "sizeBytes": str(len(buffer)), "state": "ACTIVE", "uri": f"https://files.example/{name}"}
        return web.json_response({"file": file}, headers={"X-Goog-Upload-Status": "final"})

    async def create_batch(self, request: web.Request) -> web.Response:
        batch = (await request.json())["batch"]
        if self._rng.random() < self.settings.faults.busy:
            return self._busy(request, "BatchPerMinute", self.settings.retry_delay_s)
        name = f"batches/{secrets.token_hex(6)}"
        self.batches[name] = {
            "name": name,
            "model": request.match_info["model"],
            "displayName": batch.get("displayName") or batch.get("display_name"),
            "input": batch["inputConfig"]["fileName"],
            "due": time.monotonic() + self.settings.batch_s,
            "output": None,
        }
        return web.json_response(self._operation(self.batches[name]))

    def _operation(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The job as it is now; the work is done when it is due, looked at or not."""
        done = time.monotonic() >= batch["due"]
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1.GenerateContentBatch",
            "model": f"models/{batch['model']}",
            "displayName": batch["displayName"],
            "name": batch["name"],
            "state": "BATCH_STATE_SUCCEEDED" if done else "BATCH_STATE_RUNNING",
        }
        if done and self.settings.batch_expires:
            metadata["state"] = "BATCH_STATE_EXPIRED"
        elif done:
            if batch["output"] is None:
                batch["output"] = self._work(batch)
            metadata["output"] = {"responsesFile": batch["output"]}
        return {"name": batch["name"], "metadata": metadata, "done": done}

    def _work(self, batch: dict[str, Any]) -> str:
        lines = []
        for text in self.files[batch["input"]].decode().splitlines():
            row = json.loads(text)
            asked = what_is_asked(batch["model"], row["request"])
            if int(asked[4:12], 16) / 0xFFFFFFFF < self.settings.faults.batch_error:
                lines.append({"key": row["key"], "error": {"code": 13, "message": "internal error"}})
                continue
            answer = self.make(asked, row["request"], self.batch_usage)
            if isinstance(answer, web.Response):
                lines.append({"key": row["key"], "error": {"code": 3, "message": "bad request"}})
            else:
                lines.append({"key": row["key"], "response": {**answer, "aFieldOfTomorrow": {"x": 1}}})
        random.Random(batch["name"]).shuffle(lines)
        name = f"files/out-{secrets.token_hex(6)}"
        self.files[name] = "\n".join(json.dumps(line) for line in lines).encode()
        return name

    async def get_batch(self, request: web.Request) -> web.Response:
        batch = self.batches.get(f"batches/{request.match_info['name']}")
        if batch is None:
            return self._error(request, 404, "NOT_FOUND", "no such batch")
        return web.json_response(self._operation(batch))

    async def list_batches(self, request: web.Request) -> web.Response:
        start, size = int(request.query.get("pageToken") or 0), int(request.query.get("pageSize") or 50)
        rows = list(reversed(self.batches.values()))
        page: dict[str, Any] = {"operations": [self._operation(batch) for batch in rows[start : start + size]]}
        if start + size < len(rows):
            page["nextPageToken"] = str(start + size)
        return web.json_response(page)

    async def download(self, request: web.Request) -> web.Response:
        name = f"files/{request.match_info['name']}"
        if name not in self.files:
            return self._error(request, 404, "NOT_FOUND", "file expired")
        return web.Response(body=self.files[name], content_type="application/octet-stream")

    async def delete_file(self, request: web.Request) -> web.Response:
        self.files.pop(f"files/{request.match_info['name']}", None)
        return web.json_response({})

    async def get_stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())


def photo_of(body: dict[str, Any]) -> bytes:
    for part in body["contents"][0]["parts"]:
        blob = part.get("inlineData") or part.get("inline_data")
        if blob:
            # Google's own package writes the alphabet that is safe in addresses; the service reads both.
            return base64.urlsafe_b64decode(blob["data"].replace("+", "-").replace("/", "_"))
    raise ValueError("no photo was sent")


def sentence_of(body: dict[str, Any]) -> str:
    return " ".join(part["text"] for part in body["contents"][0]["parts"] if "text" in part)


def what_is_asked(model: str, body: dict[str, Any], *, seedless: bool = False) -> str:
    """A digest of everything that a caller would pay for again: model, photo, sentence, seed."""
    config = body.get("generationConfig") or body.get("generation_config") or {}
    parts = [model, hashlib.sha256(photo_of(body)).hexdigest(), sentence_of(body)]
    parts += [] if seedless else [str(config.get("seed"))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=256)
def paint(sentence: str, size_hw: tuple[int, int], variant: int, form: str) -> bytes:
    """A picture that a decoder can read, as the sentence asks."""
    height, width = size_hw
    across = np.linspace(0, 1, width)[None, :].repeat(height, 0)
    colors = re.findall(r'"[^"]+": <(\d+), (\d+), (\d+)>', sentence)
    if colors:
        palette = np.array(colors, int).astype(np.uint8)
        rgb = palette[((across * len(palette)).astype(int) + variant) % len(palette)]
    elif "normal" in sentence:
        x = 0.6 * (across - 0.5) + 0.05 * variant
        n = np.dstack([x, np.zeros_like(x), np.sqrt(1 - x**2)])
        rgb = np.rint(255 * np.dstack([(1 - n[..., 0]) / 2, (1 + n[..., 1]) / 2, (1 + n[..., 2]) / 2]))
    elif "instance" in sentence:
        rgb = np.zeros((height, width, 3))
        rgb[height // 4 : height // 2, width // 4 : width // 2] = 255, 255, 0
    else:
        rgb = np.rint(255 * np.dstack([np.clip(across * 0.8 + 0.05 * variant, 0, 1)] * 3))
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if form == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode(f".{form}", np.ascontiguousarray(rgb.astype(np.uint8)[..., ::-1]), options)[1].tobytes()


def _envelope(parts: list[Any], finish: str, read: int, text: int, image: int) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": read,
            "candidatesTokenCount": text + image,
            "totalTokenCount": read + text + image,
            "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": read}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": image}] if image else [],
        },
        "modelVersion": "fake-1",
        "responseId": secrets.token_hex(4),
    }


def build_app(fake: Fake) -> web.Application:
    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        fake.requests += request.path != "/stats"
        return await handler(request)

    app = web.Application(client_max_size=4 * 1024**3, middlewares=[count])
    app.router.add_post(r"/{prefix:.*}models/{model}:generateContent", fake.generate)
    app.router.add_post(r"/{version}/models/{model}:batchGenerateContent", fake.create_batch)
    app.router.add_post(r"/upload/{version}/files", fake.start_upload)
    app.router.add_put(r"/upload/{version}/files", fake.upload)
    app.router.add_get(r"/{version}/batches", fake.list_batches)
    app.router.add_get(r"/{version}/batches/{name}", fake.get_batch)
    app.router.add_get(r"/{version}/files/{name}:download", fake.download)
    app.router.add_delete(r"/{version}/files/{name}", fake.delete_file)
    app.router.add_get("/stats", fake.get_stats)
    return app


class FakeGemini:
    """The fake in a thread of this process."""

    def __init__(self, settings: Settings | None = None, **faults: float) -> None:
        self.settings = settings or Settings()
        for name, share in faults.items():
            setattr(self.settings.faults, name, share)
        self.fake = Fake(self.settings)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        self._runner = web.AppRunner(build_app(self.fake))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> FakeGemini:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def stats(self) -> dict[str, Any]:
        return self.fake.stats()


async def serve(settings: Settings) -> None:
    runner = web.AppRunner(build_app(Fake(settings)), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake of Google's image API; settings as JSON.")
    parser.add_argument("settings", nargs="?", default="{}")
    values = json.loads(parser.parse_args().settings)
    known = {one.name for one in fields(Settings)}
    faults = Faults(**values.pop("faults", {}))
    asyncio.run(serve(Settings(faults=faults, **{name: values[name] for name in values if name in known})))


if __name__ == "__main__":
    main()
