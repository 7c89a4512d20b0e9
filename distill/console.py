"""How a verb speaks: progress and notes on standard error, the result on standard output, errors in one sentence.

On a terminal progress is a bar; in a pipe it is a plain line now and then. With ``--json`` standard output carries
exactly one JSON object, also when the verb fails.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from distill.errors import DistillError

Item = TypeVar("Item")
_LINE_INTERVAL_S = 10.0
_INTERRUPTED = 130
_RESUME_HINT = "what is done is kept; run the same command again to go on"


class Console:
    """The voice of one run of one verb."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """A line for the person, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A line that must not be missed."""
        self.say(f"warning: {text}")

    def result(self, values: dict[str, Any], text: str) -> None:
        """The outcome: `values` as JSON for machines, or `text` for people, on standard output."""
        if self.as_json:
            from distill.report.markdown import to_json_values

            text = json.dumps(to_json_values(values), indent=2, default=str)
        print(text, flush=True)

    def progress(self, what: str, total: int | None) -> Progress:
        """A progress bar (a context manager); call `advance` on it."""
        return Progress(what, total)

    def track(self, items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
        """The items again, with progress shown."""
        with self.progress(what, total) as progress:
            for item in items:
                yield item
                progress.advance()


class Progress:
    """A bar on a terminal, a line every ten seconds in a pipe."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done, self._printed = what, total, 0, 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._note = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=RichConsole(stderr=True),
            )
            self._bar.start()
            self._bar.add_task(self._what, total=self._total, note="")
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count items as done; `note` is shown behind the bar."""
        self._done += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=count, note=self._note)
        elif time.monotonic() - self._last > _LINE_INTERVAL_S:
            self._last = time.monotonic()
            self._line()

    def _line(self) -> None:
        self._printed = self._done
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        total = f"/{self._total}" if self._total is not None else ""
        print(f"{self._what}: {self._done}{total}, {rate:.1f}/s {self._note}".rstrip(), file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done != self._printed:
            self._line()


def run_cli(app: Callable[..., Any]) -> int:
    """The exit code of the command line; what users can act on is a sentence, never a traceback.

    ``DISTILL_DEBUG=1`` shows the traceback as well.
    """
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer catches Ctrl-C itself and gives its exit code back
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except DistillError as error:
        _show_error(error.message, error.hint, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _show_error("interrupted", _RESUME_HINT, as_json)
        return _INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:
        return _handle_unexpected(error, as_json)


def _handle_unexpected(error: Exception, as_json: bool) -> int:
    """The exit code for what is no `DistillError`: click's own errors (wrong options), or a defect of ours."""
    shown = getattr(error, "format_message", None)
    if shown is None:
        _show_error(f"unexpected {type(error).__name__}: {error}", "DISTILL_DEBUG=1 shows where", as_json)
        return 1
    context = getattr(error, "ctx", None)
    _show_error(shown(), f"see {context.command_path if context else 'distill'} --help", as_json)
    return int(getattr(error, "exit_code", 2))


def _show_error(message: str, hint: str, as_json: bool) -> None:
    if "DISTILL_DEBUG" in os.environ:
        traceback.print_exc()
    if as_json:
        print(json.dumps({"error": message, "hint": hint}), flush=True)
    print(f"error: {message}" + (f"\n  {hint}" if hint else ""), file=sys.stderr, flush=True)
