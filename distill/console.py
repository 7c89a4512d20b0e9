"""Terminal output of the commands.

Progress and messages go to standard error, the result to standard output. Progress is a bar on a terminal and a line
every ten seconds in a pipe. With ``--json``, standard output carries exactly one JSON object, also after an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, TypeVar, runtime_checkable

from distill.errors import DistillError
from distill.escaping import for_terminal
from distill.optional import switch_off_telemetry

Item = TypeVar("Item")
_LINE_INTERVAL_S = 10.0
_INTERRUPTED = 130
_RESUME_HINT = "finished work is kept; run the same command again to continue"


@runtime_checkable
class Result(Protocol):
    """Result of a command."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        ...

    def to_text(self) -> str:
        """Format for a terminal."""
        ...


class Console:
    """Reporter that prints: messages and progress on standard error, one result on standard output."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def info(self, text: str) -> None:
        """Print a message."""
        _print_message(text)

    def warn(self, text: str) -> None:
        """Print a message that must not be overlooked."""
        self.info(f"warning: {text}")

    def result(self, result: Result) -> None:
        """Print the result, as text or as one JSON object."""
        if self.as_json:
            from distill.report.markdown import to_json_values

            _print_result(json.dumps(to_json_values(result.to_dict()), indent=2, default=str))
        else:
            _print_result(for_terminal(result.to_text()))

    def progress(self, title: str, total: int | None) -> Progress:
        """Open a progress bar, a context manager."""
        return Progress(title, total)

    def track(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items and show progress."""
        with self.progress(title, total) as progress:
            for item in items:
                yield item
                progress.advance()


class Progress:
    """Progress bar on a terminal, one line every ten seconds in a pipe."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total, self._done, self._printed = title, total, 0, 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._note = ""

    def __enter__(self) -> Progress:
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
            self._bar.add_task(self._title, total=self._total, note="")
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count items as finished; `note` is shown after the bar."""
        self._done += count
        self._note = for_terminal(note) or self._note
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=count, note=self._note)
        elif time.monotonic() - self._last > _LINE_INTERVAL_S:
            self._last = time.monotonic()
            self._line()

    def _line(self) -> None:
        self._printed = self._done
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        total = f"/{self._total}" if self._total is not None else ""
        _print_message(f"{self._title}: {self._done}{total}, {rate:.1f}/s {self._note}".rstrip())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done != self._printed:
            self._line()


_NO_MEMORY = "failed to map segment from shared object"
"""Text of the system's loader if a library does not fit into the memory limit of a process."""
_MEMORY_HINT = "raise the limit (ulimit -v, container), use fewer --workers, or smaller photos; finished work is kept"


def run_cli(app: Callable[..., Any]) -> int:
    """Run the command line and return its exit code; errors are printed as one sentence.

    ``DISTILL_DEBUG=1`` prints the traceback as well.
    """
    as_json = "--json" in sys.argv
    _open_closed_streams()
    switch_off_telemetry()  # before any package is imported, by whatever
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names need not be text, and a terminal need not know all letters
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer catches Ctrl-C itself and returns its exit code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except DistillError as error:
        _show_error(error.message, error.hint, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _show_error("interrupted", _RESUME_HINT, as_json)
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return 1
    except Exception as error:
        return _handle_unexpected(error, as_json)


def _open_closed_streams() -> None:
    """Open standard streams that the caller has closed, to nowhere.

    Otherwise the next file that is opened would be standard error, and libraries would write their messages into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)


def _handle_unexpected(error: Exception, as_json: bool) -> int:
    """Exit code for errors other than `DistillError`: wrong options (click), or a defect of distill."""
    shown = getattr(error, "format_message", None)
    if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
        _show_error("the memory that this process may use is too small", _MEMORY_HINT, as_json)
        return 1
    if shown is None:
        _show_error(f"unexpected {type(error).__name__}: {error}", "set DISTILL_DEBUG=1 to see the traceback", as_json)
        return 1
    context = getattr(error, "ctx", None)
    _show_error(shown(), f"see {context.command_path if context else 'distill'} --help", as_json)
    return int(getattr(error, "exit_code", 2))


def _show_error(message: str, hint: str, as_json: bool) -> None:
    if "DISTILL_DEBUG" in os.environ:
        _print_message(traceback.format_exc())
    if as_json:
        with contextlib.suppress(DistillError, BrokenPipeError):  # the message follows on standard error
            _print_result(json.dumps({"error": message, "hint": hint}))
    _print_message(f"error: {message}" + (f"\n  {hint}" if hint else ""))


def _print_message(text: str) -> None:
    """Print on standard error, if it is open and can be written."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(for_terminal(text), file=sys.stderr, flush=True)


def _print_result(text: str) -> None:
    """Print on standard output.

    Raises:
        BrokenPipeError: The reader has gone.
        DistillError: It cannot be written, for example because a disk is full.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        _discard_output()
        reason = getattr(error, "strerror", None) or error
        raise DistillError(
            f"the result cannot be written to standard output: {reason}", hint="redirect it to another file"
        ) from error


def _discard_output() -> None:
    """Point standard output to nowhere, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
