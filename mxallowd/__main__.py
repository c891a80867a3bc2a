"""The command, also as python -m mxallowd: cli.main(), or one line where it cannot even be loaded.

Signals wait from the first moment on, and what is imported is imported late: whatever fails meanwhile, an import for
want of a descriptor as well, ends in one line and status 1.
"""
import sys


def main() -> int:
    """Run the command with the arguments of the process; its exit status."""
    try:
        from mxallowd.process import signals  # noqa: PLC0415

        signals.block()
        import logging  # noqa: PLC0415
        import warnings  # noqa: PLC0415

        # What fails while something that failed is thrown away, and what Python warns of then, is no news.
        # (This one does nothing with it, and needs no memory for that.)
        sys.unraisablehook = callable
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        logging.getLogger("asyncio").addHandler(logging.NullHandler())
        return _run()
    except Exception as error:  # noqa: BLE001  # there is nobody else
        return _fail(error)


def _run() -> int:
    from mxallowd import built  # noqa: PLC0415
    from mxallowd.process import streams  # noqa: PLC0415

    problem = built.problem()
    if problem:
        streams.open_standard()
        return streams.fail(f"{problem}: {built.remedy(built.PACKAGE.parent)}")
    # It imports what is compiled.
    from mxallowd import cli  # noqa: PLC0415

    return cli.main()


def _fail(error: Exception) -> int:
    import os  # noqa: PLC0415  # it is there since the interpreter started

    try:
        from mxallowd.errors import one_line  # noqa: PLC0415

        text = one_line(error)
    except Exception:  # noqa: BLE001  # not even that can be loaded
        text = f"cannot start: {' '.join(str(error).split())}"
    try:
        os.write(2, f"mxallowd: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        # Nobody hears it; the status says it.
        return 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
