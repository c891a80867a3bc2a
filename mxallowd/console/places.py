"""What the sandbox lets the console read for a file that may be replaced: the file's directory, where that is its own.

A file that is replaced is another one to Landlock, so the directory has to be allowed; and with it goes all else that
lies there. Which way it fails: where that is more than belongs to the console, the file alone is allowed, and a new
one in its place takes a restart.
"""
from pathlib import Path

from mxallowd.console.settings import PROGRAM, USERS
from mxallowd.text import quoted

_LEAST_PARTS = 3  # of a directory that may be somebody's own: not /, nor /etc


def of_users(users: Path) -> Path:
    """What is read for the file of users."""
    path = users.resolve()
    return path.parent if _own(path) else path


def fixed(users: Path) -> str:
    """Why a changed file of users is not taken while the console runs; "": it is."""
    if _own(users.resolve()):
        return ""
    return (f"{quoted(str(users))} lies among other files, which the console must not read: after each change of it, "
            f"restart {PROGRAM}; in a directory of its own it is read again at once")


def around(*paths: Path | None) -> list[Path]:
    """What is read for files of a certificate, and what they lead to: a new one is put in the place of an old one."""
    return [one.parent if len(one.parent.parts) >= _LEAST_PARTS else one
            for path in paths if path is not None for one in (path.absolute(), path.resolve())]


def _own(path: Path) -> bool:
    if path.parent == Path(USERS).parent.resolve():
        return True
    if len(path.parent.parts) < _LEAST_PARTS:
        return False
    try:
        # passwd.py puts its lock, and what it writes, beside the file under such names.
        return all(one.name == path.name or one.name.startswith(f".{path.name}.") for one in path.parent.iterdir())
    except OSError:
        return False
