"""The daemon's process and what it keeps: user, sandbox, sets in step, state directory, control socket."""
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mxallowd.ctl.doctor import told
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.told import FORGETS, FULL, free, instead, make, writable

LEAST_FREE = 64 << 20


def check(facts: Facts) -> list[Finding]:
    """All of it; where the daemon does not run, what can be seen without it."""
    found = list(_state(facts))
    if facts.daemon is not None:
        found += [*_user(facts.daemon), *_sandbox(facts.daemon), *told.check(facts.daemon), *_control(facts)]
    return found


def _user(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    user = int(daemon["user_id"])
    if user == 0:
        yield Finding("user", WARNING, "mxallowd runs as root", "a fault in it would be a fault of the whole host",
                      "useradd --system --no-create-home --shell /usr/sbin/nologin mxallowd; "
                      "systemctl restart mxallowd  # without --user root")
        return
    name = str(user)
    with suppress(KeyError):
        name = pwd.getpwuid(user).pw_name
    if name == "nobody":
        yield Finding("user", WARNING, "mxallowd runs as nobody", "other programs that run as nobody can reach it",
                      "useradd --system --no-create-home --shell /usr/sbin/nologin mxallowd && "
                      "systemctl restart mxallowd")
    else:
        yield Finding("user", OK, f"mxallowd runs as {name}")


def _sandbox(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    status = _status(int(daemon["pid"]))
    why = "a fault in it could reach files and programs of the host"
    if not daemon["settings"]["sandbox"]:
        yield Finding("sandbox", WARNING, "mxallowd runs with --no-sandbox", why,
                      f"sed -i '/^no-sandbox/d' {daemon['settings']['config']} && systemctl restart mxallowd")
    elif status.get("Seccomp") == "0":
        yield Finding("sandbox", WARNING, "mxallowd runs without seccomp: this kernel does not have it", why,
                      "journalctl -t mxallowd -g privileges  # says what the kernel lacks")
    elif not status:
        yield Finding("sandbox", WARNING, f"process {daemon['pid']} cannot be seen from here",
                      "whether the sandbox holds is not known", AS_ROOT)
    else:
        yield Finding("sandbox", OK, "mxallowd runs within its sandbox")


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _state(facts: Facts) -> Iterator[Finding]:
    place = Path(str(facts.settings["state_dir"]))
    owner = "root"
    if facts.daemon is not None:
        with suppress(KeyError):
            owner = pwd.getpwuid(int(facts.daemon["user_id"])).pw_name
        if wrong := list(told.state(facts.daemon, place, owner)):
            yield from wrong
            return
    try:
        found = place.stat()
        disk = os.statvfs(place)
    except PermissionError:
        yield Finding("state", WARNING, f"the state directory {place} may not be looked at by this user",
                      "whether it can be written is not known", AS_ROOT)
        return
    except OSError as error:
        yield Finding("state", WARNING, f"the state directory {place}: {error.strerror}", FORGETS, make(place, owner))
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("state", BROKEN, f"{place} is no directory", FORGETS, instead(place, owner))
    elif facts.daemon is not None and facts.daemon["user_id"] not in (0, found.st_uid):
        yield Finding("state", BROKEN, f"the state directory {place} belongs to another user than mxallowd", FORGETS,
                      make(place, owner))
    elif disk.f_flag & os.ST_RDONLY:
        yield Finding("state", BROKEN, f"the disk of {place} is read-only", FORGETS, writable(place))
    elif disk.f_bavail * disk.f_frsize < LEAST_FREE:
        yield Finding("state", WARNING, f"the disk of {place} is nearly full", FULL, free(place))
    else:
        yield Finding("state", OK, f"the state directory {place} can be written")


def _control(facts: Facts) -> Iterator[Finding]:
    place = Path(str(facts.settings["control"]))
    try:
        found = place.stat()
    except OSError as error:
        yield Finding("control", WARNING, f"the control socket {place}: {error.strerror}",
                      "mxallowctl cannot reach the daemon by it", "systemctl restart mxallowd")
        return
    if found.st_mode & 0o007:
        yield Finding("control", WARNING, f"everybody may ask by the control socket {place}",
                      "each local user sees who is whitelisted", f"chmod 0660 {place}")
        return
    try:
        grp.getgrnam("mxallowd")
    except KeyError:
        own = str(found.st_gid)
        with suppress(KeyError):
            own = grp.getgrgid(found.st_gid).gr_name
        yield Finding("control", WARNING, f"there is no group mxallowd: beside root the group {own} may ask",
                      "an operator who is to ask would have to be in the daemon's own group",
                      "groupadd --system mxallowd && systemctl restart mxallowd")
    else:
        yield Finding("control", OK, f"the control socket {place} is there for root and its group")
