"""How the command ends: exit codes, and what is said on stderr."""

from __future__ import annotations

import os
import re
import select
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import click

from aubench.errors import AubenchError
from aubench.plugins import at_fault
from aubench.plugins.wall import fault_of
from aubench.storage.files import FULL
from aubench.storage.text_files import check_utf8

OK, FOUND, BAD_INPUT, BUG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141
"""Exit codes; docs/cli.md says what each means."""

RESUMING = (
    "run",
    "merge",
    "train",
    "ablate",
    "train-text-au",
    "train-au-detector",
    "audit aaad",
    "data build",
    "data import",
    "data align",
    "export-prompts",
    "protocol export",
)
"""Commands that go on where they were interrupted."""


def run_to_end(command: click.Command, words: Sequence[str], prog_name: str) -> int:
    """Run a command line; return its exit code after everything has been written."""
    if not _open_streams():
        return _say("error: stdout is closed; send it to a file or to /dev/null", BAD_INPUT)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ≥ is no reason to die
    try:
        _check_paths(words)
        result = command.main(args=list(words), prog_name=prog_name, standalone_mode=False)
        return _flushed(result if isinstance(result, int) else OK)
    except BaseException as error:
        if isinstance(error, SystemExit) and _by_click(error):
            return _flushed(error.code)
        return report_error(error, words)


def _check_paths(words: Sequence[str]) -> None:
    """Refuse paths that some library cannot take, before any work.

    Raises:
        AubenchError: One is not UTF-8, as parquet and JSON want it, or the working folder is gone.
    """
    try:
        here = str(Path.cwd())
    except OSError as error:
        raise AubenchError("the working folder is gone", "change to another") from error
    check_utf8(*words, os.environ.get("AUBENCH_HOME", ""), here)


def _by_click(error: SystemExit) -> bool:
    """Whether click itself has ended the command, after a completion or where nobody reads."""
    trace, last = error.__traceback__, ""
    while trace is not None:
        last, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return last.partition(".")[0] == "click"


def report_error(error: BaseException, words: Sequence[str]) -> int:
    """Say on stderr what went wrong, in one line where a user can mend it; return the exit code.

    ``AUBENCH_DEBUG=1`` prints the traceback of what a user can mend too.
    """
    if isinstance(error, BrokenPipeError) and _stdout_is_closed():
        return PIPE_CLOSED
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        _leave_stdout()  # what is left in its buffer cannot be written either
    cause = error.__cause__ or error.__context__  # older click does not name the cause
    if isinstance(error, click.Abort) and isinstance(cause, EOFError):
        error = cause  # click takes it for Ctrl-D at a prompt, and there is none
    if isinstance(error, click.Abort | KeyboardInterrupt):
        resumes = " ".join(words[:1]) in RESUMING or " ".join(words[:2]) in RESUMING
        more = "; the same command resumes" if resumes else ""
        return _say(f"interrupted{more}", INTERRUPTED)
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later: a group alone
        return _say(str(error), BAD_INPUT)
    mendable = _mendable(error) or at_fault(error)
    if mendable is None and isinstance(error, SystemExit):  # no command of ours ends so
        mendable = AubenchError(f"ended before there was a result: {fault_of(error).text}")
    if mendable is None:
        traceback.print_exception(error)
        return _say(
            "bug: this should not happen; please open an issue with the lines above and what "
            "`aubench doctor --json` prints",
            BUG,
        )
    if os.environ.get("AUBENCH_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    return _say(f"{mendable.label}: {mendable}", mendable.exit_code)


def _mendable(error: BaseException) -> AubenchError | None:
    """Return what a user can mend, else None."""
    if isinstance(error, AubenchError):
        return error
    if isinstance(error, click.ClickException):
        return usage(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        return AubenchError(f"no permission for {error.filename}", "choose another path")
    if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
        return _of_system(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return AubenchError("out of memory", "take a smaller batch or size")
    if isinstance(error, RecursionError):
        return AubenchError("values lie too deep in each other", "look at the files named")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = error.object.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return AubenchError(f"the name '{shown}' is not UTF-8", "rename it")
    return None


def _of_system(error: OSError) -> AubenchError:
    """Return what the system complained of: a folder where a file is meant, a long name, ..."""
    name = "stdout" if error.filename is None else os.fsdecode(str(error.filename))[:120]
    if error.errno in FULL:
        return AubenchError(f"no space left to write {name}", "free some disk")
    why = (error.strerror or type(error).__name__).lower()
    return AubenchError(f"{name}: {why}", "choose another path")


def usage(error: click.ClickException) -> AubenchError:
    """Return click's complaint in our voice: lower case, one line, where to read on."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = re.sub(r"\. Did you mean (.*)\?", r" (did you mean \1?)", text)
    for word in (
        "Invalid",
        "Missing",
        "No such",
        "Got",
        "Option",
        "Could",
        "Path",
        "File",
        "Directory",
        "Try",
    ):
        text = text.replace(f": {word} ", f": {word.lower()} ")
        if text.startswith(f"{word} "):
            text = word.lower() + text[len(word) :]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return AubenchError(text, f"see `{context.command_path} --help`" if context else None)


def _say(line: str, code: int) -> int:
    with suppress(OSError, ValueError):  # stderr may be closed too
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    return _flushed(code)


def _open_streams() -> bool:
    """Open what the caller closed, lest a file take its number; return whether stdout was open."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        return False
    return True


def _flushed(code: object) -> int:
    """Return an exit code once stdout has been written; a reader that left is no mistake."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # the poll below tells whether it was stdout's reader
    except OSError as error:
        _leave_stdout()
        return _say(f"error: {_of_system(error)}", BAD_INPUT)
    except ValueError:
        pass  # a test has closed it
    if _stdout_is_closed():
        return PIPE_CLOSED
    return code if isinstance(code, int) else OK if code is None else BAD_INPUT


def _leave_stdout() -> None:
    """Let what is still to be written to stdout go nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def _stdout_is_closed() -> bool:
    """Whether nobody reads stdout any more; if so, let the rest go nowhere."""
    stream = sys.__stdout__
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        place = stream.fileno() if stream is not None else -1
        poll = select.poll()
        poll.register(place, 0)
        gone = any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))
    except (OSError, ValueError, OverflowError):
        return False
    if gone:
        _leave_stdout()
    return gone
