"""What can go wrong for a reason that the user can understand: it ends in one line, without a traceback."""
import errno
import os


class MxallowdError(Exception):
    """The root of this package's exceptions; its text is the line that the user reads."""


class ConfigError(MxallowdError):
    """The command line or the configuration file cannot be used."""


class StartError(MxallowdError):
    """The system does not let the daemon start: a queue that is taken, a privilege or a file that is missing."""


# What an operator can do about it, where the text of the system does not say so.
_HINTS = {errno.EMFILE: " (ulimit -n)", errno.EAGAIN: " (ulimit -u, TasksMax, pids.max)"}


def one_line(error: BaseException) -> str:
    """What an error of any kind says, in one line; those of this package say it all, others that the start failed."""
    if isinstance(error, MxallowdError):
        return str(error)
    # An import that fails half way says what is missing then; the first of these errors says why.
    first: BaseException | None = error
    while isinstance(first, ImportError):
        first = first.__cause__ or first.__context__
    if isinstance(first, OSError) and first.errno:
        file = f" ({os.fsdecode(first.filename)!r})" if isinstance(first.filename, str | bytes) else ""
        return f"cannot start: {os.strerror(first.errno)}{file}{_HINTS.get(first.errno, '')}"
    if isinstance(error, MemoryError):
        return "cannot start: there is not enough memory"
    text = " ".join(str(error).split()) or type(error).__name__
    if text == "can't start new thread":
        return f"cannot start: no new thread can be started{_HINTS[errno.EAGAIN]}"
    return f"cannot start: {text if isinstance(error, ImportError) else f'{type(error).__name__}: {text}'}"
