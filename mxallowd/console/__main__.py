"""mxallowd-console, also as python -m mxallowd.console: from argv to an exit status.

0 after a clean end, --help, --version, or a --check without faults; 78 where nobody has a password yet; 1 otherwise,
with one line on standard error that quotes what is wrong. As with mxallowd, signals wait from the first moment on, and
what is imported is imported late, so that whatever is missing ends in one line.
"""
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default); its exit status."""
    from mxallowd.process import signals, streams  # noqa: PLC0415

    signals.block()
    closed = streams.open_standard()
    try:
        # Of an installation without the extra, Jinja2 is missing.
        from mxallowd.console.command import run  # noqa: PLC0415

        return run(sys.argv[1:] if argv is None else argv, closed)
    except Exception as error:  # noqa: BLE001  # there is nobody else
        from mxallowd.errors import one_line  # noqa: PLC0415

        needs = "" if not isinstance(error, ModuleNotFoundError) else ": install mxallowd[console]"
        streams.write(sys.stderr, f"mxallowd-console: {one_line(error)}{needs}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
