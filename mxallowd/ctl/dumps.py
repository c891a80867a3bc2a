"""What import reads: lists of addresses and networks in the forms of other programs, line by line.

    list        an address or a network on each line; behind # a note
    spamdb      the output of OpenBSD's spamdb(8): WHITE entries, with the time at which they end
    postscreen  a CIDR table of Postfix (cidr_table(5)) for postscreen_access_list, as postwhite writes them: permit,
                reject and dunno; firstmatch.py has what becomes of them
    postgrey    whitelist_clients of postgrey: addresses, beginnings of addresses, networks, names, expressions
    export      what mxallowctl export printed

Each line becomes an Item, or a Left with its reason. No input or output, no clock.
"""
import calendar
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mxallowd.ctl.checks import is_address, network_problem
from mxallowd.text import quoted

MAX_NOTE = 200
KEPT = ("origin", "used", "proven", "since")  # of an entry of an export, as the daemon has it


class Item(NamedTuple):
    """An address that becomes an entry, or a network."""

    what: str
    verdict: str = ""  # of a network: allow or deny, of an export also direct or learned, or DUNNO; "" of an address
    until_s: int | None = None  # seconds since 1970; None: the dump does not say
    note: str = ""
    kept: Mapping[str, object] = {}  # of an export: what else an entry keeps


class Left(NamedTuple):
    """A line that becomes nothing, and why."""

    reason: str
    expected: bool = False  # the dump means it so: it is counted, and no fault


Reader = Callable[[str], Item | Left | None]


def _item(text: str, verdict: str = "allow", until_s: int | None = None, note: str = "") -> Item | Left:
    """An address or a network; a network of one address is that address, unless it is denied."""
    base, slash, length = text.partition("/")
    whole = "32" if "." in base and ":" not in base else "128"
    if is_address(base) and length in ("", whole) and (not slash or length):
        return Item(base, "" if verdict == "allow" else verdict, until_s, note)
    if not slash:
        return Left(f"{quoted(text)} is neither an address nor a network")
    problem = network_problem(text)
    return Left(problem) if problem else Item(text, verdict, until_s, note)


def _noted(line: str) -> tuple[str, str]:
    """A line without its comment, and the comment as a note."""
    text, _, comment = line.partition("#")
    note = "".join(letter if letter.isprintable() else " " for letter in comment).strip()
    return text.strip(), note[:MAX_NOTE].rstrip()


def _list(line: str) -> Item | Left | None:
    text, note = _noted(line)
    return _item(text, note=note) if text else None


EXPORTED = ("allow", "deny", "direct", "learned")
DUNNO = "dunno"  # of a line of postscreen: no later line decides about it
_VERDICTS = {"permit": "allow", "reject": "deny", "dunno": DUNNO}
_OCTETS = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}\.?", re.ASCII)


def _postgrey(line: str) -> Item | Left | None:
    if line.startswith("/"):
        return Left(f"{quoted(line.strip())} is an expression for names")
    text, note = _noted(line)
    if not text:
        return None
    if _OCTETS.fullmatch(text):
        # The beginning of an address stands for all that begin so.
        octets = text.rstrip(".").split(".")
        return _item(".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}", note=note)
    if _NAME.fullmatch(text):
        return Left(f"{quoted(text)} is a name: import its addresses")
    return _item(text, note=note)


_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?")


def _spamdb(line: str) -> Item | Left | None:
    if not line.strip():
        return None
    kind, *fields = line.strip().split("|")
    if kind in ("GREY", "TRAPPED", "SPAMTRAP"):
        return Left(f"it is {kind}, not WHITE", expected=True)
    # type|address|||first|pass|expire|block|pass
    if kind != "WHITE" or len(fields) < 6 or not (fields[5].isascii() and fields[5].isdigit()) or len(fields[5]) > 12:
        return Left(f"{quoted(line.strip())} is no line of spamdb")
    return _item(fields[0], until_s=int(fields[5]))


class _Postscreen:
    """A CIDR table; what stands between if and endif holds for some clients only, so it is not taken."""

    def __init__(self) -> None:
        self._depth = 0

    def __call__(self, line: str) -> Item | Left | None:
        text = line.strip()
        if not text or text.startswith("#"):
            return None
        pattern, *actions = text.split()
        word = pattern.lower()
        self._depth = max(0, self._depth + (word == "if") - (word == "endif"))
        if self._depth or word == "endif" or pattern.startswith("!"):
            return Left(f"{quoted(text)} depends on other lines or patterns")
        if line[:1].isspace():
            return Left(f"{quoted(text)} continues the line before it")
        action = actions[0].lower() if actions else ""
        if action not in _VERDICTS or len(actions) > 1:
            return Left(f"{quoted(text)} says neither permit nor reject nor dunno")
        # Brackets may stand around an address, or around all of a network (cidr_table(5)).
        inner = _BRACKETS.fullmatch(pattern)
        return _item(inner[1] + (inner[2] or "") if inner else pattern, _VERDICTS[action])


def _export(line: str) -> Item | Left | None:
    if not line.strip():
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    # What list --json prints has no kind, and is good as well.
    kind = found.get("kind", "entry") if isinstance(found, dict) else None
    what = found.get({"entry": "address", "network": "network"}.get(str(kind), "")) if kind else None
    verdict = found.get("verdict", "allow") if kind == "network" else "allow"
    note = found.get("note") if kind else None
    if not isinstance(what, str) or verdict not in EXPORTED or not isinstance(note, str | None):
        return Left(f"{quoted(line.strip())} is no line of an export")
    try:
        until_s = _since_1970(found.get("until"))
    except ValueError:
        return Left(f"{quoted(str(found.get('until')))} is no time")
    note = "".join(letter for letter in note or "" if letter.isprintable())[:MAX_NOTE]
    item = _item(what, verdict, until_s, note)
    # A single address may be an allowed network, which has no end.
    if kind == "network" or not isinstance(item, Item):
        return item._replace(verdict=verdict) if isinstance(item, Item) else item
    kept = KEPT if found.get("origin") is not None else ()
    return item._replace(kept={key: found[key] for key in kept if found.get(key) is not None})


def _since_1970(text: object) -> int | None:
    return None if text is None else calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ"))


FORMATS = ("list", "spamdb", "postscreen", "postgrey", "export")
_SPAMDB = re.compile(r"(WHITE|GREY|TRAPPED|SPAMTRAP)\|")
_BRACKETS = re.compile(r"\[([^][]+)\](/\d+)?", re.ASCII)
_POSTSCREEN = re.compile(r"!?[][0-9A-Fa-f.:/]+\s+(permit|reject|dunno)\b", re.IGNORECASE)


def reader(name: str) -> Reader:
    """What reads the lines of one file of a format, one after the other."""
    readers: dict[str, Reader] = {
        "list": _list, "spamdb": _spamdb, "postscreen": _Postscreen(), "postgrey": _postgrey, "export": _export}
    return readers[name]


def recognize(lines: Sequence[str]) -> str:
    """The format of a file that begins with these lines. What has no mark of another one is a list."""
    telling = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for name, test in (
            ("export", lambda line: line.lstrip().startswith("{")), ("spamdb", _SPAMDB.match),
            ("postscreen", _POSTSCREEN.match),
            ("postgrey", lambda line: line.startswith("/") or _NAME.fullmatch(_noted(line)[0]))):
        if any(map(test, telling)):
            return name
    return "list"
