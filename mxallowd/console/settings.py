"""The command line of mxallowd-console: from words to frozen settings. What is wrong with them is one line.

There is no configuration file: the unit of systemd takes options from OPTIONS= in /etc/default/mxallowd-console.
"""
import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn

from mxallowd import __version__
from mxallowd.console.users import NAME, NAME_IS
from mxallowd.console.visit import Role
from mxallowd.ctl.client import DEFAULT_SOCKET
from mxallowd.errors import ConfigError
from mxallowd.settings.values import Address, Network, listener, path
from mxallowd.text import printable, quoted

PROGRAM = "mxallowd-console"
SERVE, PASSWD = "serve", "passwd"
LISTEN = "127.0.0.1:8025"
CONTROL, STATE_DIR = DEFAULT_SOCKET, "/var/lib/mxallowd-console"
USERS, USER = "/etc/mxallowd-console/users", "mxallowd-console"
_USAGE = (f"{PROGRAM} [serve] [OPTION]...\n"
          f"       {PROGRAM} [serve] --check [OPTION]...\n"
          f"       {PROGRAM} passwd NAME [--role look|change] [--remove] [--users FILE] [--user NAME]")
_EPILOG = ("Exit status: 0 a clean end, or a --check without faults; 78 no user has a password yet; 1 otherwise. "
           "docs/console.md has all of it.")


@dataclass(frozen=True)
class Serving:
    """What the console is to do."""

    listen: tuple[tuple[Address, int], ...]
    cert: Path | None
    key: Path | None
    proxies: tuple[Network, ...]
    control: Path
    state_dir: Path
    users: Path
    user: str
    sandbox: bool
    check: bool  # look at all of it, and end

    @property
    def exposed(self) -> tuple[str, ...]:
        """Where passwords cross a network as they are: addresses that are not this host's alone, without TLS."""
        return () if self.cert else tuple(shown(*one) for one in self.listen if not one[0].is_loopback)


@dataclass(frozen=True)
class Changing:
    """What becomes of a user."""

    name: str
    role: Role | None  # None: the one that he has
    remove: bool
    users: Path
    user: str


class Asked(Exception):
    """Something was asked for that is only printed."""


def shown(address: Address, port: int) -> str:
    """An address to listen at, as it is written in a URL."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{printable(message)}; see {PROGRAM} --help")

    def print_help(self, file: Any = None) -> NoReturn:
        raise Asked(self.format_help())


def read(words: Sequence[str]) -> Serving | Changing:
    """What these words ask for. Raises ConfigError, Asked."""
    if words and words[0] == PASSWD:
        return _changing(words[1:])
    return _serving(words[1:] if words and words[0] == SERVE else words)


def _serving(words: Sequence[str]) -> Serving:
    parser = _parser()
    parser.add_argument("--listen", metavar="ADDRESS:PORT", action="append", type=_by(listener),
                        help=f"where browsers, or a proxy, connect; may be repeated (default: {LISTEN})")
    parser.add_argument("--cert", metavar="FILE", type=_by(path), help="TLS: the certificate with its chain, PEM")
    parser.add_argument("--key", metavar="FILE", type=_by(path), help="TLS: its key, PEM")
    parser.add_argument("--proxy", metavar="ADDRESS|NETWORK", action="append", type=_by(_network), default=[],
                        help="believe this proxy whom it asks for (X-Forwarded-For, -Proto); may be repeated")
    parser.add_argument("--control", metavar="SOCKET", type=_by(path), default=Path(CONTROL),
                        help=f"control socket of mxallowd (default: {CONTROL})")
    parser.add_argument("--state-dir", metavar="DIRECTORY", type=_by(path), default=Path(STATE_DIR),
                        help=f"for the history of the plots (default: {STATE_DIR})")
    _common(parser)
    parser.add_argument("--no-sandbox", action="store_true", help="leave out Landlock and seccomp")
    parser.add_argument("--check", action="store_true", help="say what is wrong with all of it, and end")
    parser.add_argument("--version", action="store_true", help="print the version, and end")
    found = _parsed(parser, words)
    if found.version:
        raise Asked(f"{PROGRAM} {__version__}\n")
    if (found.cert is None) != (found.key is None):
        given, lacking = ("--cert", "--key") if found.key is None else ("--key", "--cert")
        raise ConfigError(f"{given} without {lacking}: TLS takes both")
    return Serving(tuple(dict.fromkeys(found.listen or [listener(LISTEN)])), found.cert, found.key, tuple(found.proxy),
                   found.control, found.state_dir, found.users, found.user, not found.no_sandbox, found.check)


def _changing(words: Sequence[str]) -> Changing:
    parser = _parser()
    parser.add_argument("name", metavar="NAME", type=_by(_name))
    parser.add_argument("--role", choices=[str(role) for role in Role],
                        help="what the user may do (default: what he may now; for a new one: look)")
    parser.add_argument("--remove", action="store_true", help="take the user out")
    _common(parser)
    found = _parsed(parser, words)
    if found.remove and found.role:
        raise ConfigError(f"--remove takes {found.name} out: leave --role away")
    return Changing(found.name, Role(found.role) if found.role else None, found.remove, found.users, found.user)


def _parser() -> _Parser:
    return _Parser(prog=PROGRAM, usage=_USAGE, allow_abbrev=False, epilog=_EPILOG,
                   description="The web console of mxallowd: a page that shows and changes what mxallowd does.")


def _common(parser: _Parser) -> None:
    parser.add_argument("--users", metavar="FILE", type=_by(path), default=Path(USERS),
                        help=f"who may log in (default: {USERS})")
    parser.add_argument("--user", metavar="NAME", default=USER, type=_by(_account),
                        help=f"whom it becomes when root starts it, and who reads the users (default: {USER})")


def _parsed(parser: _Parser, words: Sequence[str]) -> argparse.Namespace:
    # Python 3.11 says of what is too much that it is not recognized, and never quotes it.
    found, more = parser.parse_known_args(words)
    if more:
        raise ConfigError(f"{quoted(more[0])} is no option or command of {PROGRAM}; see {PROGRAM} --help")
    return found


def _by(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """A converter of argparse that quotes what it does not take."""
    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{quoted(text)} {error}") from None
    return converted


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError("is neither an address nor a network without bits behind its prefix") from None


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"is no name of a user: {NAME_IS}")
    return text


def _account(text: str) -> str:
    if not text or ":" in text or "\0" in text:
        raise ValueError("is no name of a user of the system")
    return text
