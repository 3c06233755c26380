"""Where every command ends: errors are shown in one look, and become the documented exit code."""

from __future__ import annotations

import gc
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import typer

from replctl import __version__
from replctl.cli.streams import open_console, show, steady_streams
from replctl.execution.state_dir import open_private, writable_state_dir
from replctl.model.errors import ExitCode, InterruptedByOperator, ReplctlError, UsageError


def show_misread(mistake: typer.TyperException) -> ExitCode:
    """A command line that cannot be parsed looks like any other error."""
    with steady_streams():
        _render(_misread(mistake))
    return ExitCode.USAGE


def _misread(mistake: typer.TyperException) -> UsageError:
    """Typer's sentences in our form: what is wrong, then what to do."""
    what, _, advice = mistake.format_message().replace("Value error, ", "").partition(". ")
    command: object = getattr(getattr(mistake, "ctx", None), "command_path", "replctl")
    help_line = f"`{command} --help` shows what it takes."
    message = f"{what[:1].lower()}{what[1:].removesuffix('.')}"
    return UsageError(message, hint=f"{advice} {help_line}" if advice else help_line)


def run_command(
    body: Callable[[], ExitCode],
    *,
    state_dir: Path | None = None,
    on_error: Callable[[ReplctlError], None] | None = None,
) -> ExitCode:
    """Run a command's body and return its exit code.

    ``on_error`` is told of an error before it is shown on stderr: with ``-o json`` it prints the document.
    ``state_dir`` is where the traceback of a bug is kept, if it can be written.
    """
    gc.freeze()  # by now everything is imported
    gc.enable()
    with steady_streams():
        try:
            return _run(body, on_error)
        except Exception as bug:
            _show_bug(bug, state_dir)
            return ExitCode.BUG


def _run(body: Callable[[], ExitCode], on_error: Callable[[ReplctlError], None] | None) -> ExitCode:
    try:
        return body()
    except ReplctlError as error:
        return _show_error(error, on_error)
    except KeyboardInterrupt:
        return _show_error(_interrupted(), on_error)


def _interrupted() -> ReplctlError:
    return InterruptedByOperator("interrupted: nothing was changed", hint="Run the same command again to carry on.")


def _show_error(error: ReplctlError, on_error: Callable[[ReplctlError], None] | None) -> ExitCode:
    if on_error is not None:
        on_error(error)
    _render(error)
    return error.exit_code


def _render(error: ReplctlError) -> None:
    from replctl.cli.render_error import error_renderable  # noqa: PLC0415 - Rich, which a run that ends well can spare

    show(open_console(sys.stderr), error_renderable(error))


def _show_bug(bug: Exception, state_dir: Path | None) -> None:
    from replctl.cli.render_error import labelled  # noqa: PLC0415 - Rich, which a run that ends well can spare

    where = keep_traceback(bug, state_dir)
    rows = [
        ("error:", f"replctl has a bug: {type(bug).__name__}", "bold red"),
        ("kept:", f"the traceback is in {where}", "bold"),
        (
            "hint:",
            "Run `replctl status` to see how the cluster stands, and report the bug with that file.",
            "bold cyan",
        ),
    ]
    show(open_console(sys.stderr), labelled(rows))


def keep_traceback(bug: BaseException, state_dir: Path | None) -> Path:
    """Write the traceback, which has no local variables in it, to a file of mode 0600; returns its path.

    The folder is ``state_dir``, else ``.replctl`` in the working directory, else a new private one.
    """
    text = _traceback_text(bug)
    name = f"traceback-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    for folder in _folders(state_dir):
        try:
            with writable_state_dir(folder) as opened:
                file = open_private(opened, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as out:
                out.write(text)
        except OSError:
            continue
        return folder / name
    return Path(os.devnull)


def _folders(state_dir: Path | None) -> Iterator[Path]:
    if state_dir is not None:
        yield state_dir
    yield Path.cwd() / ".replctl"
    yield Path(tempfile.mkdtemp(prefix="replctl-"))


def _traceback_text(bug: BaseException) -> str:
    frames = "".join(traceback.TracebackException.from_exception(bug, capture_locals=False).format())
    return f"replctl {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n{frames}"
