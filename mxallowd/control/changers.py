"""Who may change the daemon by the control socket besides root and its own user: a group (--control-change-group).

Its number is found at the start, and again at a reload if another group is named. The sandbox cannot read an /etc/group
that took the place of the one at the start, so the broker opens it then.

Which way it fails: a group that is not there ends the start, since somebody counts on it. At a reload the one before
keeps the right, as the log says, and the next reload tries again.
"""
import grp
import os
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.process import broker
from mxallowd.settings import Settings
from mxallowd.text import quoted

OPTION = "control-change-group"
GROUPS = Path("/etc/group")  # group(5)
MAX_BYTES = 1 << 20


class Changers:
    """The group in force."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._text: str | None = None  # what `group` was found for
        self.group: int | None = None  # None: there is none
        self.fault = ""  # of the last reload: why it keeps what it had

    def open(self, settings: Settings) -> None:
        """Find it, before the daemon serves. Raises StartError."""
        if fault := problem(settings):
            raise StartError(fault)
        self._take(settings.control_change_group)

    def reload(self, settings: Settings) -> None:
        """Let another one hold, where another one is named."""
        self.fault = ""
        if settings.control_change_group == self._text:
            return
        if fault := problem(settings):
            self.fault = fault
            self._log.error("list-failed", where="settings", reason=fault)
        else:
            self._take(settings.control_change_group)

    def _take(self, text: str | None) -> None:
        self._text, self.group = text, None if text is None else group_id(text)


def problem(settings: Settings) -> str:
    """What is wrong with the group that is named; empty: nothing, or none is named."""
    text = settings.control_change_group
    return "" if text is None or group_id(text) is not None else f"{OPTION}: there is no group {quoted(text)}"


def group_id(text: str) -> int | None:
    """The number of a group, which is given by its name or its number; None: there is no group of that name."""
    if text.isdecimal():
        return int(text)
    with suppress(KeyError, OSError):
        return grp.getgrnam(text).gr_gid
    try:
        with os.fdopen(broker.open_file(GROUPS), "rb") as file:
            lines = file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [fields[2] for line in lines if len(fields := line.split(":")) == 4 and fields[0] == text]
    return int(found[0]) if found and found[0].isascii() and found[0].isdecimal() else None
