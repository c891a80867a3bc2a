"""The daemon's process and what it keeps: user, sandbox, sets in step, state directory, control socket."""
import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.shipped import load

LEAST_FREE = 64 << 20


def check(facts: Facts) -> list[Finding]:
    """All of it; where the daemon does not run, what can be seen without it."""
    found = list(_state(facts))
    if facts.daemon is not None:
        found += [*_user(facts.daemon), *_sandbox(facts.daemon), *_sets(facts.daemon), *_doors(facts.daemon),
                  *_lists(facts.daemon), *_trust(facts.daemon), *_control(facts)]
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
    if daemon.get("broker"):
        yield Finding("broker", BROKEN, f"the broker of the sandbox: {daemon['broker']}",
                      "the configuration and the lists cannot be read again", "systemctl restart mxallowd")


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _sets(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    for one in (*daemon["kernel_tables"], *daemon["network_sets"]):
        fault, lacking = one.get("fault"), one.get("lacking") or []
        remedy = re.search(r"run `([^`]+)`|: (add set [^`]*)$", str(fault or ""))
        if fault and one.get("decides") is False:
            yield Finding("sets-networks", WARNING, f"{one['name']}: {fault}",
                          "neighbours of a contact come in one by one, each a second after its first SYN",
                          _network_lines(daemon["settings"], daemon.get("pid")))
        elif fault:
            yield Finding("sets", BROKEN, f"{one['name']}: {fault}", "the kernel does not know who is whitelisted",
                          (remedy[1] or f"nft '{remedy[2]}'") if remedy else _make_sets(
                              daemon["settings"], daemon.get("pid")))
        elif not one["in_step"]:
            yield Finding("sets", WARNING, f"{one['name']} is not in step with the daemon yet",
                          "it is filled again within 10 seconds; if this stays, the log says why",
                          "journalctl -t mxallowd -g kernel-")
        else:
            yield Finding("sets", OK, f"{one['name']} is in step with the daemon")
        for name in lacking:
            why = "no rule can lead them from the fake server to the real one" if name.startswith("mx_direct") else (
                "the kernel decides on them as if there were no lists")
            yield Finding("sets-lists", WARNING, f"{one['name']} has no set {name}, and there are networks for it", why,
                          f"{_make_list(one['name'], name)}  # and have a rule ask it")


def _doors(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    for one in daemon.get("door") or ():
        interface, fault = one["interface"], one["fault"]
        if not fault:
            yield Finding("door", OK, f"a chain of {daemon['settings']['nft_table']} stands " + (
                "in prerouting, for all interfaces" if one.get("place") == "prerouting" else f"at {interface}"))
        else:
            if one.get("beside"):
                yield Finding("door", WARNING, f"{interface}: {fault}", "mail that comes in by it is not filtered",
                              "ip route  # if mail comes in by it, give it to --door and print door.nft again")
                continue
            missing = "no such interface" in fault
            yield Finding("door", BROKEN, f"door {interface}: {fault}",
                          "mail comes in by another one, unfiltered, or not at all" if missing else
                          "it is decided behind connection tracking, as in way c)" if "filter what comes in" in fault
                          else "what comes in by it is not filtered",
                          "ip -brief link  # mend --door and rulesets/door.nft after it" if missing else
                          load(daemon["settings"], daemon.get("pid"), "d"))


def _trust(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    trust = daemon.get("trust")
    for fault in trust.get("faults", ()) if isinstance(trust, dict) else ():
        yield Finding("trust", WARNING, str(fault), "what was learned of this line before still holds, if anything",
                      "mxallowctl trust")


def _lists(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    lists = daemon.get("lists")
    for fault in lists.get("faults", ()) if isinstance(lists, dict) else ():
        yield Finding("lists", WARNING, str(fault), "what the list had before the last reload still holds",
                      "mxallowctl reload  # once the file is mended")


def _make_sets(settings: Mapping[str, Any], pid: int | None = None) -> str:
    """The command that makes what the daemon needs at least."""
    if settings["nft_table"] is None:
        return "journalctl -t mxallowd -g kernel-table-broken"
    table = settings["nft_table"]
    if settings.get("door"):
        return load(settings, pid, "d")
    if not settings.get("queues"):
        # Ways c) and d) need other flags, and nothing tells which of them it is: door-raw.nft goes without --door.
        return f"{load(settings, pid, 'c')}  # or d, at the door"
    sets = "".join(f"; add set {table} mx_white{version} {{ type ipv{version}_addr; flags timeout; }}"
                   for version in (4, 6))
    return f"nft 'add table {table}{sets}'  # and load the rules, as in rulesets/"


def _network_lines(settings: Mapping[str, Any], pid: int | None) -> str:
    """How the ruleset gets the sets of --network-key, and the rules that ask them."""
    if settings["nft_table"] is None:
        return load({**settings, "ipset": True}, pid, "c")
    return load(settings, pid, "d") if settings.get("door") else f"{load(settings, pid, 'c')}  # or d, at the door"


def _make_list(target: str, name: str) -> str:
    """The command that makes a set of networks; `target` as the status names it, `lists in nft inet mxallowd`."""
    if "ipset" in target:
        return f"ipset create {name} hash:net family {'inet6' if name.endswith('6') else 'inet'} maxelem 1000000"
    return f"nft 'add set {target.partition(' nft ')[2]} {name} {{ type ipv{name[-1]}_addr; flags interval; }}'"


def _state(facts: Facts) -> Iterator[Finding]:
    place = Path(str(facts.settings["state_dir"]))
    owner = "root"
    if facts.daemon is not None:
        with suppress(KeyError):
            owner = pwd.getpwuid(int(facts.daemon["user_id"])).pw_name
        state = facts.daemon.get("state")
        fault = state.get("fault") if isinstance(state, dict) else None
        if fault and os.strerror(errno.ENOSPC) in fault:
            yield Finding("state", BROKEN, f"the state directory {place}: {fault}", _FULL, _free(place))
            return
        if fault:
            yield Finding("state", BROKEN, f"the state directory {place}: {fault}", _FORGETS, _make(place, owner))
            return
    try:
        found = place.stat()
        disk = os.statvfs(place)
    except PermissionError:
        yield Finding("state", WARNING, f"the state directory {place} may not be looked at by this user",
                      "whether it can be written is not known", AS_ROOT)
        return
    except OSError as error:
        yield Finding("state", WARNING, f"the state directory {place}: {error.strerror}", _FORGETS, _make(place, owner))
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("state", BROKEN, f"{place} is no directory", _FORGETS, f"mv {place} {place}.old && "
                      f"{_make(place, owner)}")
    elif facts.daemon is not None and facts.daemon["user_id"] not in (0, found.st_uid):
        yield Finding("state", BROKEN, f"the state directory {place} belongs to another user than mxallowd", _FORGETS,
                      _make(place, owner))
    elif disk.f_flag & os.ST_RDONLY:
        yield Finding("state", BROKEN, f"the disk of {place} is read-only", _FORGETS,
                      f"mount -o remount,rw $(findmnt -n -o TARGET -T {place})")
    elif disk.f_bavail * disk.f_frsize < LEAST_FREE:
        yield Finding("state", WARNING, f"the disk of {place} is nearly full", _FULL, _free(place))
    else:
        yield Finding("state", OK, f"the state directory {place} can be written")


_FORGETS = "a restart forgets the whitelist, and every sender starts anew"
_FULL = ("what changes now is not on the disk; mxallowd has it, and writes it as soon as there is space: do not "
         "restart it before")


def _free(place: Path) -> str:
    return f"df -h {place}; du -xsh $(findmnt -n -o TARGET -T {place})/*  # then free space there"


def _make(place: Path, owner: str) -> str:
    return f"install -d -o {owner} -m 0700 {place} && chown -R {owner} {place} && systemctl restart mxallowd"


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
