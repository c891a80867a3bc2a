"""What --check finds: all that a start opens, looked at as the user that the console becomes.

Where root asks, a child becomes that user and looks: what root may read tells nothing. Nothing is made, and no socket
listens, so a console that runs, or starts at that moment, does not notice. What may be right a moment later, such as
a daemon that does not run yet, is a warning: its text has WARNING in it.
"""
import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from mxallowd.console.enclosure import bound, tls_of
from mxallowd.console.places import fixed
from mxallowd.console.settings import Serving, shown
from mxallowd.console.users import Users
from mxallowd.errors import MxallowdError, StartError, one_line
from mxallowd.process.paths import obstacle, who_could_replace
from mxallowd.process.privileges import account_of, give_up, groups_of
from mxallowd.text import quoted

WARNING = ": warning: "
ANSWER_S = 2.0  # until the daemon's socket takes a connection


def check(wanted: Serving) -> tuple[list[str], Users]:
    """What is wrong, a line each, and the users, as who asks can read them."""
    found: list[str] = []
    users = Users(wanted.users, found.append)
    users.refresh()
    if users.absent:
        found.clear()  # that there is no file yet is no fault
    name = quoted(str(wanted.users))
    if why := who_could_replace(wanted.users, {0}):
        # Root does not start with such a file (command.py).
        found.append(f"cannot use {name}: {why}" if os.geteuid() == 0 else f"{name}{WARNING}{why}")
    if why := fixed(wanted.users):
        found.append(f"{name}{WARNING}{why}")
    try:
        tls_of(wanted)
    except StartError as error:
        found.append(str(error))
    found += _addresses(wanted)
    found += _place(wanted.state_dir)
    try:
        found += _as_user(wanted.user, lambda: list(_seen(wanted, readable=users.any)))
    except MxallowdError as error:
        found.append(str(error))
    found += [f"{where}{WARNING}passwords can be read on the way there; give --cert and --key"
              for where in wanted.exposed]
    return found, users


def _place(directory: Path) -> Iterator[str]:
    """Why who asks, and starts it, could not make the state directory."""
    cannot = f"cannot make the state directory {quoted(str(directory))}"
    try:
        directory.stat()
    except FileNotFoundError:
        if not directory.parent.is_dir():
            yield f"{cannot}: there is no {quoted(str(directory.parent))}"
        elif not os.access(directory.parent, os.W_OK | os.X_OK):
            yield f"{cannot}: nothing may be made there"
    except OSError:
        pass  # the user who has to use it says so


def _addresses(wanted: Serving) -> Iterator[str]:
    for address, port in wanted.listen:
        try:
            bound(address, port).close()
        except OSError as error:
            where = shown(address, port)
            if error.errno == errno.EADDRINUSE and _runs(wanted.state_dir):
                yield f"{where}{WARNING}it is in use, maybe by the console that runs with this state directory"
            else:
                yield f"cannot listen at {where}: {error.strerror}"


def _runs(directory: Path) -> bool:
    """Whether a console has this state directory now."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _as_user(user: str, look: Callable[[], list[str]]) -> list[str]:
    """What is seen by this user; by who asks, where that is not root. Raises StartError."""
    if account_of(user) is None:
        return look()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "[]"
        try:
            give_up(user, keep=(), groups=groups_of(user))
            text = json.dumps(look())
        except Exception as error:  # noqa: BLE001  # it has no other way to say it
            text = json.dumps([one_line(error)])
        finally:
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                file.write(text)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        seen: list[str] = json.loads(file.read() or "[]")
    os.waitpid(child, 0)
    return seen


def _seen(wanted: Serving, *, readable: bool) -> Iterator[str]:
    """What this process may not do, and has to."""
    if readable and (fault := _reading(wanted.users)):
        yield f"{fault}, so nobody could log in: its group has to be that of {wanted.user}, as after a passwd by root"
    for path in (wanted.cert, wanted.key):
        if path is not None and (fault := _reading(path)):
            yield (f"{quoted(str(path))}{WARNING}{fault}: under systemd, where the console never is root, it does not "
                   f"start, and elsewhere a renewed one takes a restart")
    yield from _state(wanted)
    yield from _control(wanted)


def _reading(path: Path) -> str:
    """Why this process cannot read a file that is there; "": it can."""
    try:
        path.open("rb").close()
    except PermissionError:
        where = obstacle(path) or path
        return f"the user with id {os.geteuid()} cannot read {quoted(str(path))}" + (
            "" if where == path else f" (it may not enter {quoted(str(where))})")
    except OSError:
        pass  # who opens it as root has said so
    return ""


def _state(wanted: Serving) -> Iterator[str]:
    directory, name = wanted.state_dir, quoted(str(wanted.state_dir))
    try:
        status = directory.stat()
    except FileNotFoundError:
        return  # a start makes it, as who starts it: check() looks
    except OSError as error:
        yield f"cannot use the state directory {name}: {error.strerror}"
        return
    if not stat.S_ISDIR(status.st_mode):
        yield f"cannot use the state directory {name}: it is no directory"
    elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield f"cannot use the state directory {name}: the user with id {os.geteuid()} may not write it; let it own it"


def _control(wanted: Serving) -> Iterator[str]:
    path, name = wanted.control, quoted(str(wanted.control))
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            yield f"{name} is no socket: the control socket of mxallowd is meant (--control)"
            return
        _connect(path)
    except FileNotFoundError:
        yield f"{name}{WARNING}there is no such socket: mxallowd does not run, or has another one"
    except PermissionError:
        yield (f"the user with id {os.geteuid()} may not connect to {name}: let {wanted.user} be a member of the group "
               f"of that socket")
    except OSError as error:
        yield f"{name}{WARNING}mxallowd does not answer there: {error.strerror or 'it takes too long'}"


def _connect(path: Path) -> None:
    # By a short name: one of more than 107 bytes fits into no address of a socket.
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(ANSWER_S)
            made.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
