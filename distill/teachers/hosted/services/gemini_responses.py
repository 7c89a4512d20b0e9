"""Parser of Gemini responses (JSON): images, refusals, text, drafts, errors.

``generateContent`` and the result files of batch jobs have the same format.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from distill.teachers.hosted.services.base import Response, Usage
from distill.teachers.hosted.services.errors import AccountError, InvalidRequest, RateLimited, TransientError
from distill.teachers.store.records import EMPTY, IMAGE, REFUSED

_BLOCKS = frozenset(
    {
        "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "RECITATION", "IMAGE_RECITATION",
        "BLOCKLIST", "SPII", "MODEL_ARMOR", "JAILBREAK", "LANGUAGE",
    }
)  # fmt: skip
"""Reasons that a retry does not change."""
_RETRY_INFO, _QUOTA_FAILURE = "google.rpc.RetryInfo", "google.rpc.QuotaFailure"
_MODEL_GONE, _KEY_REFUSED = 404, (401, 403)
_TRANSIENT = (408, 409, 499)


def parse_response(body: dict[str, Any]) -> Response:
    """The content of a response: an image (the last one that is not a draft), a refusal, or only text."""
    usage = _usage(body.get("usageMetadata") or {})
    version = str(body.get("modelVersion") or "")
    about = {"response_id": str(body.get("responseId") or "")}
    blocked = (body.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        reason = f"the service blocked the prompt ({blocked})"
        return Response(REFUSED, reason=reason, finish=str(blocked), model_version=version, usage=usage, about=about)
    candidates = body.get("candidates") or [{}]
    candidate = candidates[0] or {}
    finish = str(candidate.get("finishReason") or "")
    parts = (candidate.get("content") or {}).get("parts") or []
    images = [part for part in parts if _blob(part) is not None]
    finals = [part for part in images if not part.get("thought")]
    text = " ".join(str(part["text"]) for part in parts if part.get("text") and not part.get("thought"))
    details: dict[str, Any] = {
        "finish": finish,
        "model_version": version,
        "text": text,
        "usage": usage,
        "about": about,
    }
    if finals:
        blob = _blob(finals[-1]) or {}
        # For the record only: the announced type is sometimes wrong; the bytes decide.
        about["announced"] = str(blob.get("mimeType") or blob.get("mime_type") or "")
        data = _decoded(blob)
        if data:
            return Response(IMAGE, data, **details)
    if finish in _BLOCKS:
        return Response(REFUSED, reason=f"the service refused the request ({finish})", **details)
    return Response(EMPTY, reason=_reason_for_no_image(finish, text, parts, finals, images), **details)


def _decoded(blob: dict[str, Any]) -> bytes:
    try:
        # Both base64 alphabets occur; Python's decoder silently drops the characters of the other one.
        return base64.b64decode(str(blob["data"]).replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError, TypeError, KeyError):
        return b""


def _reason_for_no_image(finish: str, text: str, parts: list[Any], finals: list[Any], images: list[Any]) -> str:
    """A sentence about the content of an answer without an image."""
    if finals:
        return "the image in the answer cannot be read"
    if images:
        return "the answer has only a draft image"
    if text:
        return f"the answer has text and no image: {text[:120]}"
    if any(part.get("thought") for part in parts):
        return "the answer has only thoughts"
    return f"the answer has no image ({finish or 'no reason given'})"


def api_error(error: Any) -> Exception:
    """The meaning of an `APIError` of the package: an exception of `services.base`."""
    body: Any = error.details if isinstance(error.details, dict) else {}
    inner: Any = body.get("error") if isinstance(body.get("error"), dict) else {}
    headers = getattr(error.response, "headers", None) or {}
    retry_after = headers.get("Retry-After") or headers.get("retry-after")
    message = str(inner.get("message") or error.message or "")
    return error_of(int(error.code or 0), str(error.status or ""), message, inner.get("details"), retry_after)


def error_of(code: int, status: str, message: str, details: Any, retry_after: str | None) -> Exception:
    """The exception of `services.base` for an HTTP error.

    Args:
        code: HTTP status.
        status: Google's name of the status.
        message: Message of the error.
        details: The ``details`` list of the error, if there is one.
        retry_after: The header of that name.
    """
    text = f"HTTP {code} {status}: {message}"
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    delay_s = _delay(rows, retry_after)
    if code == 429:
        return RateLimited(text, delay_s=delay_s, scope=_scope(rows, message))
    account = _account_error(code, rows, message, text)
    if account is not None:
        return account
    if code >= 500 or code in _TRANSIENT:
        # After a gateway timeout the model may have continued to work.
        return TransientError(text, charged=code == 504, delay_s=delay_s)
    return InvalidRequest(text)


def _account_error(code: int, rows: list[dict[str, Any]], message: str, text: str) -> AccountError | None:
    """The error that every other request would get as well; None for other errors."""
    if 300 <= code < 400:
        return AccountError(
            f"the service at this address redirects to another one (HTTP {code}), which is not followed",
            hint="set base_url to the address of the service itself",
        )
    if code in _KEY_REFUSED or (code == 400 and "API_KEY_INVALID" in str(rows)):
        return AccountError(f"the service does not accept the key ({text})", hint="check the key in the environment")
    if code == 402 or (code == 400 and "billing" in message.lower()):
        return AccountError(f"the account has no credit ({text})", hint="add credit to the account, then run again")
    if code == _MODEL_GONE:
        return AccountError(f"the service has no such model ({text})", hint="set model=... to one that it has")
    return None


def _blob(part: dict[str, Any]) -> dict[str, Any] | None:
    blob = part.get("inlineData") or part.get("inline_data")
    return blob if isinstance(blob, dict) else None


def _usage(counts: dict[str, Any]) -> Usage | None:
    """Tokens; those of the image are separate from those of text and thoughts."""
    if not counts:
        return None
    written = int(counts.get("candidatesTokenCount") or 0)
    details = counts.get("candidatesTokensDetails") or []
    image = sum(int(row.get("tokenCount") or 0) for row in details if row.get("modality") == "IMAGE")
    text = max(0, written - image) + int(counts.get("thoughtsTokenCount") or 0)
    return Usage(int(counts.get("promptTokenCount") or 0), text, image)


def _delay(rows: list[dict[str, Any]], retry_after: str | None) -> float | None:
    """Delay in seconds that the service requests: the longer of RetryInfo and Retry-After."""
    found = []
    for row in rows:
        if str(row.get("@type", "")).endswith(_RETRY_INFO):
            match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(row.get("retryDelay", "")))
            found += [float(match[1])] if match else []
    if retry_after and re.fullmatch(r"\d+(\.\d+)?", retry_after.strip()):
        found.append(float(retry_after))
    return max(found) if found else None


def _scope(rows: list[dict[str, Any]], message: str) -> str:
    """The limit that a 429 reports: minute, day or spend."""
    quotas = " ".join(
        f"{violation.get('quotaId', '')} {violation.get('quotaMetric', '')}"
        for row in rows
        if str(row.get("@type", "")).endswith(_QUOTA_FAILURE)
        for violation in row.get("violations") or []
    )
    if "PerDay" in quotas:
        return "day"
    return "spend" if "spend" in f"{quotas} {message}".lower() else "minute"
