"""What around the daemon defeats nolisting in silence: looked for at the start and by --check, in a process of its own.

A program that listens on port 25 of a fake address, an address that this host does not have, no rule that feeds the
queue or group. All are warnings, never a failed start; what cannot be found out (no privilege, no program) is not said.
The process has the privileges of the start, since rules are shown to root alone; it reads nothing from outside but its
arguments, runs `nft` and `iptables-save` with a time-out, and ends. No foreign library reads rules in the daemon.
"""
import errno
import ipaddress
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mxallowd.process import child
from mxallowd.settings import Settings
from mxallowd.settings.values import Address

LIMIT_S = 10.0  # for all of it
_PROGRAM_S = 4.0
_SMTP = 25
_LISTEN = "0A"
_PATHS = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_NO_ENVIRONMENT = {"PATH": _PATHS, "LC_ALL": "C"}


def command(settings: Settings) -> list[str]:
    """The words that run the look for these settings; each line of its output is a warning."""
    groups = [(one or "").removeprefix("nflog:") for one in (settings.pflog_interface, settings.learn_outbound)]
    asked = {
        "fake": [str(one) for one in settings.fake_mailserver], "real": [str(one) for one in settings.real_mailserver],
        "queues": list(settings.queue_num or ()), "groups": [int(one) for one in groups if one.isdigit()]}
    return child.command("mxallowd.surroundings", json.dumps(asked))


def applies(settings: Settings) -> bool:
    """Whether there is something to look at: a rehearsal, and other systems than Linux, have no such surroundings."""
    return sys.platform == "linux" and not (settings.pflog_interface or "").startswith("file:")


def warnings(settings: Settings) -> list[str]:
    """Wait for the look."""
    if not applies(settings):
        return []
    try:
        done = subprocess.run(command(settings), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def look(fake: Sequence[Address], real: Sequence[Address], queues: Iterable[int], groups: Iterable[int]) -> list[str]:
    """The warnings."""
    here = {server: is_here(server) for server in (*fake, *real)}
    found = [f"something listens at {place}, port {_SMTP} of the fake address {server}: a host that contacts it is not "
             "rejected" for server in fake if here[server] is not False
             for place in listening(server, listeners())[:1]]
    if not forwards():
        found += [f"{server} is no address of this host: no packet to it comes here"
                  for server in (*fake, *real) if here[server] is False]
    versions: set[int] = {server.version for server in (*fake, *real)}
    return found + _without_rules(versions, queues, groups)


def is_here(server: Address) -> bool | None:
    """Whether this host has the address; None: it cannot be told."""
    try:
        with socket.socket(socket.AF_INET6 if server.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((str(server), 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            return None
        # One that is still being checked for duplicates cannot be used yet, but is here.
        return server.version == 6 and f"{int(server):032x}" in _read("/proc/net/if_inet6")
    return True


def listening(server: Address, listeners: Iterable[Address]) -> list[str]:
    """Which of the listeners would answer for this address."""
    found = []
    for one in listeners:
        mapped = getattr(one, "ipv4_mapped", None) or one
        both = int(one) == 0 and one.version == 6 and _read("/proc/sys/net/ipv6/bindv6only").strip() != "1"
        if mapped == server or (int(one) == 0 and one.version == server.version) or (both and server.version == 4):
            found.append(f"[{one}]" if one.version == 6 else str(one))
    return found


def listeners() -> list[Address]:
    """The addresses at which anything listens at port 25."""
    return [address for version in (4, 6)
            for address in listeners_of(_read(f"/proc/net/tcp{'6' if version == 6 else ''}"), version)]


def listeners_of(table: str, version: int) -> list[Address]:
    """Addresses of /proc/net/tcp or tcp6 whose port 25 listens. Words of 32 bits are in the machine's order."""
    found: list[Address] = []
    for match in re.finditer(rf"^ *\d+: ([0-9A-F]+):{_SMTP:04X} [0-9A-F]+:[0-9A-F]+ {_LISTEN} ", table, re.MULTILINE):
        words = [int(match[1][at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(match[1]), 8)]
        with suppress(ValueError):
            raw = b"".join(words)
            found.append(ipaddress.IPv6Address(raw) if version == 6 else ipaddress.IPv4Address(raw))
    return found


def forwards() -> bool:
    """Whether packets to other hosts pass this one."""
    return any(_read(f"/proc/sys/net/{name}").strip() == "1"
               for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _without_rules(versions: set[int], queues: Iterable[int], groups: Iterable[int]) -> list[str]:
    rules = fed_by_rules()
    if rules is None:
        return []
    names = {4: "IPv4", 6: "IPv6"}
    wanted = [("queue", number) for number in queues] + [("group", number) for number in groups]
    return [f"no rule of the firewall feeds {'queue' if kind == 'queue' else 'NFLOG group'} {number} with "
            f"{names[version]}" for kind, number in wanted for version in sorted(versions)
            if (kind, number, version) not in rules]


def fed_by_rules() -> set[tuple[str, int, int]] | None:
    """Which queues and groups are fed, and with which version of IP; None: not all rules could be seen."""
    found: set[tuple[str, int, int]] = set()
    seen = False
    for program, version in (("iptables-save", 4), ("ip6tables-save", 6), ("iptables-legacy-save", 4),
                             ("ip6tables-legacy-save", 6)):
        text = output(program)
        if text is None:
            return None
        seen |= bool(shutil.which(program, path=_PATHS))
        found |= of_iptables(text, version)
    text = output("nft", "list", "ruleset")
    if text is None:
        return None
    seen |= bool(shutil.which("nft", path=_PATHS))
    return found | of_nft(text) if seen else None


def output(program: str, *words: str) -> str | None:
    """What a program says; nothing where it is not installed, None where it failed."""
    path = shutil.which(program, path=_PATHS)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              errors="replace", timeout=_PROGRAM_S, env=_NO_ENVIRONMENT, cwd="/")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def of_iptables(text: str, version: int) -> set[tuple[str, int, int]]:
    """What rules as iptables-save writes them feed."""
    found = set()
    for line in text.splitlines():
        target = re.search(r" -j (NFQUEUE|NFLOG)\b(.*)", line)
        if not line.startswith("-A ") or not target:
            continue
        kind = "queue" if target[1] == "NFQUEUE" else "group"
        numbers = re.search(r"--(?:queue-num|queue-balance|nflog-group) (\d+)(?::(\d+))?", target[2])
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, 0)
        found |= {(kind, number, version) for number in range(first, min(last, first + 65535) + 1)}
    return found


def of_nft(text: str) -> set[tuple[str, int, int]]:
    """What rules as nft lists them feed, those of the families inet, ip and ip6."""
    found = set()
    versions: tuple[int, ...] = ()
    for line in text.splitlines():
        if table := re.match(r"table (\w+) ", line):
            versions = {"ip": (4,), "ip6": (6,)}.get(table[1], (4, 6))
        for kind, pattern in (("queue", r"\bqueue (?:flags [\w,]+ )?(?:num|to) (\d+)(?:-(\d+))?"),
                              ("group", r"\blog\b.*? group (\d+)()")):
            for match in re.finditer(pattern, line):
                last = int(match[2] or match[1])
                found |= {(kind, number, version) for number in range(int(match[1]), last + 1) for version in versions}
    return found


if __name__ == "__main__":
    signal.alarm(int(LIMIT_S))  # whatever becomes of who started it
    asked = json.loads(sys.argv[1])
    addresses = [[ipaddress.ip_address(one) for one in asked[role]] for role in ("fake", "real")]
    for warning in look(addresses[0], addresses[1], asked["queues"], asked["groups"]):
        print(warning)
