"""What the words of mxallowd-console ask for, and its exit status (see __main__.py)."""
import os
import signal
import sys
from collections.abc import Container, Sequence

from mxallowd.console import checking, passwd, settings
from mxallowd.console.serving import serve
from mxallowd.console.settings import PROGRAM, USERS, Asked, Changing, Serving
from mxallowd.console.users import Users
from mxallowd.errors import MxallowdError
from mxallowd.process import signals, streams
from mxallowd.process.paths import who_could_replace
from mxallowd.text import quoted

# EX_CONFIG of sysexits.h, as mxallowd has it. The unit does not start it again then.
NOT_SET_UP = 78


def run(words: Sequence[str], closed: Container[int]) -> int:
    """Do what is asked for; `closed` are the standard streams that were."""
    try:
        wanted = settings.read(words)
        if isinstance(wanted, Changing):
            signals.end_at_once()
            return _print(passwd.change(wanted))
        if wanted.check:
            signals.end_at_once()
            return _check(wanted, closed)
        return _serve(wanted)
    except Asked as asked:
        signals.end_at_once()
        return _print(str(asked))
    except MxallowdError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _serve(wanted: Serving) -> int:
    if why := who_could_replace(wanted.users, {0}):
        # Root would read what somebody else has put there.
        if os.geteuid() == 0:
            return _fail(f"cannot use {quoted(str(wanted.users))}: {why}")
        _fail(f"warning: {why}")
    faults: list[str] = []
    users = Users(wanted.users, faults.append)
    users.refresh()
    # That there is no file yet is no fault.
    for fault in () if users.absent else faults:
        _fail(fault)
    if users.any:
        serve(wanted, users)
    return _nobody(wanted, users)


def _check(wanted: Serving, closed: Container[int]) -> int:
    faults, users = checking.check(wanted)
    if 1 in closed or not streams.write(sys.stdout, "".join(f"{fault}\n" for fault in faults)):
        return _fail("--check: what it found could not be written to standard output")
    if not users.any:
        return _nobody(wanted, users)
    return 1 if any(checking.WARNING not in fault for fault in faults) else 0


def _nobody(wanted: Serving, users: Users) -> int:
    if users.unreadable and not users.absent:
        # Why has been said, and no other password helps.
        return NOT_SET_UP
    where = "" if str(wanted.users) == USERS else f" --users {wanted.users}"
    return _fail(f"nobody can log in yet; set a password: {PROGRAM} passwd NAME --role change{where}", NOT_SET_UP)


def _print(text: str) -> int:
    return 0 if streams.write(sys.stdout, text) else 1


def _fail(text: str, status: int = 1) -> int:
    streams.write(sys.stderr, f"{PROGRAM}: {text}\n")
    return status
