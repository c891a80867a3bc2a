"""mxallowctl, also as python -m mxallowd.ctl: from argv to an exit status (see command.py)."""
import io
import json
import os
import signal
import sys
from collections.abc import Sequence

from mxallowd.ctl import registry
from mxallowd.ctl.client import Client, Unreachable
from mxallowd.ctl.command import NO, UNREACHABLE, USAGE, Context
from mxallowd.ctl.output import Mistake, safe
from mxallowd.ctl.output import error as error_document
from mxallowd.ctl.parser import Misused, build, command_of
from mxallowd.process import streams
from mxallowd.text import quoted


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default) and return the exit status."""
    if argv is None and 1 in _own_process():
        # What was asked for would go nowhere, and look as if it had been told.
        return _fail("the standard output is closed (for nothing to be printed: >/dev/null)", NO)
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words)
        sys.stdout.flush()
    except Unreachable as error:
        status = _fail(str(error), UNREACHABLE, words, "unreachable")
    except Misused as error:
        status = _fail(str(error), USAGE, words, "usage")
    except Mistake:
        status = USAGE
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except OSError as error:
        # What was asked for may have been done; who asked was not told.
        status = _fail(os.strerror(error.errno) if error.errno else str(error), NO)
    return status


def _own_process() -> set[int]:
    """Set up what belongs to the process; which of its standard streams were closed."""
    closed = streams.open_standard()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no letter of a note gets an escape.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Who has read enough of a list ends it, as with other programs.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return closed


def _run(words: Sequence[str]) -> int:
    name = command_of(words)
    command = registry.find(name) if name else None
    if name and not command:
        return _fail(f"{_unknown(name)}; see mxallowctl --help", USAGE, words, "usage")
    arguments = build([command] if command else registry.every()).parse_args(words)
    assert command  # without one the parser has ended the process
    return command.run(Context(Client(arguments.socket), arguments, sys.stdout, sys.stderr))


def _unknown(name: str) -> str:
    import difflib  # noqa: PLC0415  # it takes its time

    near = difflib.get_close_matches(name, registry.names(), 1)
    return f"unknown command {quoted(name)}" + (f"; did you mean {near[0]}?" if near else "")


def _fail(text: str, status: int, words: Sequence[str] = (), code: str = "failed") -> int:
    """Say why it was not done; where --json is among the words of the command line, as a document, too."""
    try:
        if "--json" in words:
            sys.stdout.write(json.dumps(error_document(code, text)) + "\n")
        # What has been printed so far stands before it.
        sys.stdout.flush()
    except OSError:
        # Its buffer is tried once more at the end of the process, which would say it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr.write(f"mxallowctl: {safe(text)}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
