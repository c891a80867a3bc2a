"""What follows from the daemon's word alone, whoever asks: kernel sets, doors, lists, trust, state directory, broker.

No look at this host but the daemon's command line, which may be missing: `mxallowctl doctor` has these among its
findings, and the console, which sees nothing of the host, has these alone.
"""
import errno
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.shipped import load

_AGAIN = "systemctl restart mxallowd"
_ABOVE = re.compile(
    r'may write "(?P<step>[^"]+)"; take that away \((?P<right>chmod [go]-w|setfacl -b)\)|'
    r'"(?P<owned>[^"]+)" belongs to the user with id \d+; let root own it')
FORGETS = "a restart forgets the whitelist, and every sender starts anew"
FULL = ("what changes now is not on the disk; mxallowd has it, and writes it as soon as there is space: do not "
        "restart it before")


def check(daemon: Mapping[str, Any]) -> list[Finding]:
    """All but the state directory; `daemon` is the answer of GET /v1/doctor."""
    return [*broker(daemon), *sets(daemon), *doors(daemon), *lists(daemon), *trust(daemon)]


def broker(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """What opens files for the sandbox."""
    if daemon.get("broker"):
        yield Finding("broker", BROKEN, f"the broker of the sandbox: {daemon['broker']}",
                      "the configuration and the lists cannot be read again", "systemctl restart mxallowd")


def sets(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """The sets in the kernel: of hosts, of networks."""
    for one in (*daemon["kernel_tables"], *daemon["network_sets"]):
        fault, lacking = one.get("fault"), one.get("lacking") or []
        remedy = re.search(r"run `([^`]+)`|: (add set [^`]*)$", str(fault or ""))
        if fault and one.get("decides") is False:
            yield Finding("sets-networks", WARNING, f"{one['name']}: {fault}",
                          "neighbours of a contact come in one by one, each a second after its first SYN",
                          _network_lines(daemon["settings"], daemon.get("pid")))
        elif fault:
            yield Finding("sets", BROKEN, f"{one['name']}: {fault}", "the kernel does not know who is whitelisted",
                          (remedy[1] or f"nft '{remedy[2]}'") if remedy else make_sets(
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
                          f"{make_list(one['name'], name)}  # and have a rule ask it")


def doors(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """The chains of --door."""
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


def trust(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """The lines of trusted senders."""
    told = daemon.get("trust")
    for fault in told.get("faults", ()) if isinstance(told, dict) else ():
        yield Finding("trust", WARNING, str(fault), "what was learned of this line before still holds, if anything",
                      "mxallowctl trust")


def lists(daemon: Mapping[str, Any]) -> Iterator[Finding]:
    """The lists of networks."""
    told = daemon.get("lists")
    for fault in told.get("faults", ()) if isinstance(told, dict) else ():
        yield Finding("lists", WARNING, str(fault), "what the list had before the last reload still holds",
                      "mxallowctl reload  # once the file is mended")


def state(daemon: Mapping[str, Any], place: object, owner: str) -> Iterator[Finding]:
    """A fault of the state directory; `owner` is the daemon's user, by name or number."""
    told = daemon.get("state")
    fault = told.get("fault") if isinstance(told, dict) else None
    if fault and os.strerror(errno.ENOSPC) in fault:
        yield Finding("state", BROKEN, f"the state directory {place}: {fault}", FULL, free(place))
    elif fault:
        yield Finding("state", BROKEN, f"the state directory {place}: {fault}", FORGETS, mend(fault, place, owner))


def free(place: object) -> str:
    """The command that shows what fills a disk."""
    quoted = shlex.quote(str(place))
    return f"df -h {quoted}; du -xsh $(findmnt -n -o TARGET -T {quoted})/*  # then free space there"


def mend(fault: str, place: object, owner: str) -> str:
    """The command that mends this fault of a state directory, as process/paths.py and mirrors/disk/directory.py say it.

    What is wrong may be a directory above it, where no right of its own helps.
    """
    if (found := _ABOVE.search(fault)) and found["owned"] != str(place):
        return f"{found['right'] or 'chown root'} {shlex.quote(found['step'] or found['owned'])} && {_AGAIN}"
    within, in_the_way = shlex.quote(f"{place}/mxallowd"), instead(place, owner)
    remedies = {
        "belongs to root and holds": f"install -d -o {owner} -m 0700 {within}  # set state-dir to it; then {_AGAIN}",
        "another mxallowd keeps its state": "pgrep -a mxallowd  # end one of them, or give it a state-dir of its own",
        os.strerror(errno.ENOTDIR): in_the_way, os.strerror(errno.EEXIST): in_the_way,
        os.strerror(errno.EROFS): writable(place),
        os.strerror(errno.EIO): "journalctl -k -p err -n 50  # the disk itself fails"}
    return next((command for words, command in remedies.items() if words in fault), make(place, owner))


def instead(place: object, owner: str) -> str:
    """The command that makes a state directory where something else stands."""
    return f"mv {shlex.quote(str(place))} {shlex.quote(f'{place}.old')} && {make(place, owner)}"


def writable(place: object) -> str:
    """The command that lets a file system be written again."""
    return f"mount -o remount,rw $(findmnt -n -o TARGET -T {shlex.quote(str(place))})"


def make(place: object, owner: str) -> str:
    """The command that makes a state directory."""
    quoted = shlex.quote(str(place))
    return f"install -d -o {owner} -m 0700 {quoted} && chown -R {owner} {quoted} && {_AGAIN}"


def make_sets(settings: Mapping[str, Any], pid: int | None = None) -> str:
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


def make_list(target: str, name: str) -> str:
    """The command that makes a set of networks; `target` as the status names it, `lists in nft inet mxallowd`."""
    if "ipset" in target:
        return f"ipset create {name} hash:net family {'inet6' if name.endswith('6') else 'inet'} maxelem 1000000"
    return f"nft 'add set {target.partition(' nft ')[2]} {name} {{ type ipv{name[-1]}_addr; flags interval; }}'"
