"""The values of the options of the fleet: where the engine is, and names of a site and of a gateway.

An address has the form of the redis and rediss schemes that IANA registers. There is no password in it: arguments of a
process can be read by every user of the host.
"""
import re
import socket
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from mxallowd.settings.values import number, path

PORT, SENTINEL_PORT = 6379, 26379
MOST_DATABASE = 1_000_000
MOST_SENTINELS = 16
LONGEST_SITE, LONGEST_ORIGIN = 32, 64
CLI = "redis-cli -s /run/redis/redis.sock --user admin --askpass"
"""How who administers the engine of packaging/fleet/make-site speaks to it, on its host."""
SCHEMES = ("redis", "rediss", "unix")
# By which other programs take a login from an address.
_SECRET_WORDS = re.compile(r"(?i)(^|&)(user|pass|pw|auth|secret|token)[^&=]*=")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HOST = re.compile(r"\[(?P<literal>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\](?::(?P<port>[^:]*))?|"
                   r"(?P<name>[A-Za-z0-9._-]+)(?::(?P<number>[^:]*))?")


class Engine(NamedTuple):
    """Where the engine of the fleet is. Its text is the address that was given."""

    text: str
    hosts: tuple[tuple[str, int], ...]  # name or address, and port; Sentinels where there is a master; none: a socket
    tls: bool
    socket: Path | None
    master: str | None  # what the Sentinels call it
    database: int

    def __str__(self) -> str:
        return self.text


def engine(text: str) -> Engine:
    """redis://HOST[:PORT][/DB], rediss:// with TLS, unix:///PATH[?db=N]; Sentinels: redis://HOST,HOST/MASTER."""
    scheme, mark, rest = text.partition("://")
    if "@" in text:
        behind = text.rpartition("@")[2].partition("?")[0]
        raise Secret(f"{scheme}://...@{behind}" if mark else f"...@{behind}")
    if "?" in text and _SECRET_WORDS.search(text.partition("?")[2]):
        raise Secret(f"{text.partition('?')[0]}?...")
    if not mark or scheme not in SCHEMES:
        raise ValueError("is not the address of an engine: redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
    place, _, query = rest.partition("?")
    if "#" in rest or (query and scheme != "unix"):
        raise ValueError("has a part that no address of an engine has")
    if scheme == "unix":
        return Engine(text, (), False, _socket(place), None, _database_of(query))
    names, _, last = place.partition("/")
    by_number = not last or (last.isascii() and last.isdecimal())
    if not by_number and not _NAME.fullmatch(last):
        raise ValueError(f"has /{last} at its end, which is neither a database nor the name of a master")
    hosts = tuple(_host(one, PORT if by_number else SENTINEL_PORT) for one in names.split(","))
    if by_number and len(hosts) > 1:
        raise ValueError("has several hosts and no name of a master behind them: redis://HOST,HOST/MASTER (Sentinels)")
    if len(set(hosts)) < len(hosts):
        raise ValueError("has one host twice")
    if len(hosts) > MOST_SENTINELS:
        raise ValueError(f"has more than {MOST_SENTINELS} hosts")
    return Engine(text, hosts, scheme == "rediss", None, None if by_number else last,
                  number(0, MOST_DATABASE)(last) if last and by_number else 0)


class Secret(ValueError):
    """The value has a password in it, perhaps, which nobody shall read in a log."""

    def __init__(self, shown: str) -> None:
        """`shown` is the value without it."""
        super().__init__("has a user or a password in it: these stand in the file of fleet-login-file")
        self.shown = shown


def _socket(place: str) -> Path:
    if not place.startswith("/") or place == "/":
        raise ValueError("is not unix:///PATH: the path begins with a third /")
    if ",unix:" in place:
        raise ValueError("has two sockets; there is one engine")
    return path(unquote(place))


def _database_of(query: str) -> int:
    if not query:
        return 0
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(pairs) != 1 or pairs[0][0] != "db":
        raise ValueError("has a part that no address of an engine has: behind ? stands db=N alone")
    return number(0, MOST_DATABASE)(pairs[0][1])


def _host(text: str, usual: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"has {text!r} in the place of a host: NAME, IPv4 or [IPv6], and :PORT" if text
                         else "has no host")
    name = found["name"]
    if name and (name.startswith("-") or (name.rpartition(".")[2].isdecimal() and not _is_ipv4(name))):
        raise ValueError(f"has {name!r} in the place of a host, which is neither an address nor a name")
    port = found["port"] if found["literal"] else found["number"]
    return found["literal"] or found["name"], usual if port is None else number(1, 65535)(port)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def site(text: str) -> str:
    """The name of a site."""
    return _name(text, "the name of a site", LONGEST_SITE)


def origin(text: str) -> str:
    """The name by which the other gateways know this one."""
    return _name(text, "the name of a gateway", LONGEST_ORIGIN)


def _name(text: str, what: str, most: int) -> str:
    if not _NAME.fullmatch(text) or len(text) > most:
        raise ValueError(f"is not {what}: 1 to {most} letters, digits and . _ - of ASCII")
    return text


def own_origin() -> str:
    """The host's name as the name of a gateway; what no such name has is replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:LONGEST_ORIGIN] or "gateway"
