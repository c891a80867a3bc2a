"""export and import: what the daemon holds as a stream, and lists of this and other programs into it.

A file is read and sent in pieces, so its size does not matter. What could not be taken keeps nothing else out; it is
counted, and named with its place. What was taken before the daemon went away stays.
"""
import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO

from mxallowd.ctl import checks
from mxallowd.ctl.command import NO, OK, USAGE, Answer, Command, Context
from mxallowd.ctl.dumps import FORMATS, MAX_NOTE, Item, Left, Reader, reader, recognize
from mxallowd.ctl.output import BAD_REQUEST, failed, held, reason, refuse, show, show_json, value, warn
from mxallowd.ctl.parser import FILES
from mxallowd.text import printable, quoted

PIECE, PIECE_BYTES = 1000, 400_000  # of one request: the daemon takes 1,000 entries and networks, and 512 KiB
LOOKED_AT = 200  # lines by which a format is recognized
LONGEST_LINE = 4096  # bytes
COUNTED = ("entered", "known", "networks", "left_out", "networks_left_out", "shortened")  # by the daemon
MOST_NAMED = 100  # lines that are named; --json names all


def _export_arguments(_: argparse.ArgumentParser) -> None:
    pass


def _export(context: Context) -> int:
    answer = context.daemon.ask("GET", "/v1/export", stream=True)
    if failed(context, answer):
        return NO
    for one in answer.lines():
        show_json(context, one)
    return OK


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what to read; - is the standard input",
                        ).complete = FILES  # type: ignore[attr-defined]
    parser.add_argument("--format", choices=FORMATS, help="what the file is (default: it is recognized)")
    parser.add_argument("--time", metavar="SECONDS", type=checks.seconds,
                        help="how long addresses and networks stay (default: an address as long as the file says, as "
                        "far as the daemon lets one of its origin; a network for good, or as long as the file says)")
    parser.add_argument("--note", metavar="TEXT", type=checks.note, help="note of what has none in the file")
    parser.add_argument("--check", action="store_true",
                        help="let the daemon judge the file (but for its room), and enter nothing")


class _Import:
    """One import, as far as it has come."""

    def __init__(self, context: Context, name: str, whitelist_time: int) -> None:
        self._context = context
        self._name = name
        self._whitelist_time = whitelist_time
        self._note = context.arguments.note or f"imported from {printable(name.rpartition('/')[2])}"[:MAX_NOTE]
        self._now_s = time.time()
        self.done: Counter[str] = Counter()  # as the daemon counts
        self.passed_over: Counter[str] = Counter()  # by reason
        self.left: list[dict[str, object]] = []  # what is at fault
        self.faults = 0
        self.denied: list[dict[str, object]] = []  # what was taken, and is refused all the same
        self.refused: Answer | None = None  # the request that the daemon did not take
        self._denied: set[str] = set()  # networks that the file denies
        self._judged: set[str] = set()  # with --check: what the daemon would know by the next piece

    def fault(self, line: int, why: str) -> None:
        """Count and name a line that could not be taken."""
        self.faults += 1
        self._name_line(line, why, self.left, self.faults)

    def _name_line(self, line: int, why: str, into: list[dict[str, object]], count: int) -> None:
        if self._context.arguments.json:
            into.append({"file": self._name, "line": line, "reason": why})
        elif count <= MOST_NAMED:
            warn(self._context, f"{self._name}:{line}: {why}")

    def judge(self, lines: Iterable[tuple[int, str | None]], format_: str) -> Iterator[tuple[int, Item, int | None]]:
        """Line, what it is and its time in seconds (None: for good) of what can be taken."""
        read = reader(format_)
        items = ((number, found) for number, line in lines if (found := _read(read, line)) is not None)
        for number, found in _settled(items) if format_ == "postscreen" else items:
            if isinstance(found, Item):
                seconds = self._seconds(found)
                if seconds is None or seconds > 0:
                    yield number, found, seconds
                else:
                    self.passed_over["its time is over"] += 1
            elif found.expected:
                self.passed_over[found.reason] += 1
            else:
                self.fault(number, found.reason)

    def _seconds(self, item: Item) -> int | None:
        if self._context.arguments.time is not None:
            return int(self._context.arguments.time)
        left = None if item.until_s is None else int(item.until_s - self._now_s)
        # How long one with an origin may stay, who is proven above all, is for the daemon to say.
        if item.verdict or item.kept.get("origin") is not None:
            return left if left is None else min(left, checks.MAX_SECONDS)
        if left is not None and left > self._whitelist_time:
            self.done["shortened"] += 1
        return self._whitelist_time if left is None else min(left, self._whitelist_time)

    def pieces(self, judged: Iterable[tuple[int, Item, int | None]]) -> Iterator[list[tuple[int, Item, int | None]]]:
        """What was judged, in pieces that fit in a request."""
        piece: list[tuple[int, Item, int | None]] = []
        size = 0
        for one in judged:
            # With the keys; a note may become six times as long as JSON, or twelve.
            size += 300 + len(json.dumps(one[1].note or self._note))
            if piece and (len(piece) == PIECE or size > PIECE_BYTES):
                yield piece
                piece, size = [], 0
            piece.append(one)
        if piece:
            yield piece

    def send(self, some: list[tuple[int, Item, int | None]]) -> bool:
        """Let the daemon enter these; False where it takes none at all."""
        lines: dict[str, list[int]] = {}
        entries: list[dict[str, object]] = []
        networks: list[dict[str, object]] = []
        for number, item, seconds in some:
            lines.setdefault(item.what, []).append(number)
            more = {} if seconds is None else {"seconds": seconds}
            note = item.note or self._note
            # A time that is given makes it an entry by hand, which lasts as long as that.
            kept = {} if self._context.arguments.time is not None else item.kept
            if item.verdict == "deny":
                whole = "" if "/" in item.what else "/128" if ":" in item.what else "/32"
                self._denied.add(item.what.lower() + whole)
            if item.verdict:
                networks.append({"network": item.what, "verdict": item.verdict, "note": note, **more})
            elif kept.get("origin") is not None:
                noted = item.note or self._context.arguments.note
                entries.append({"address": item.what, **({"note": noted} if noted else {}), **kept, **more})
            else:
                entries.append({"address": item.what, "note": note, **more})
        body: dict[str, object] = {"entries": entries, "networks": networks}
        if self._context.arguments.check:
            body = {"entries": self._first(entries), "networks": networks, "check": True}
        answer = self._context.daemon.ask("POST", "/v1/import", body=body)
        if answer.status >= 400:
            self.refused = answer
            return False
        for key in COUNTED:
            count = value(answer.body, key)
            self.done[key] += count if isinstance(count, int) else 0
        denied = value(answer.body, "denied")
        for one in denied if isinstance(denied, list) else ():
            # What the file itself denies within what it allows is meant so.
            if value(one, "by", "network") not in self._denied:
                what = str(value(one, "what"))
                self.done["denied"] += 1
                self._name_line(lines.get(what, [0])[0], f"{quoted(what)} stays refused: {held(value(one, 'by'))}",
                                self.denied, self.done["denied"])
        rejected = value(answer.body, "rejected")
        for one in rejected if isinstance(rejected, list) else ():
            what = str(value(one, "what"))
            places = lines.get(what) or [0]
            self.fault(places.pop(0) if len(places) > 1 else places[0], f"{quoted(what)}: {value(one, 'reason')}")
        return True

    def _first(self, entries: list[dict[str, object]]) -> list[dict[str, object]]:
        """Those that no piece before has had; the others are known by then."""
        found = [one for one in entries if one["address"] not in self._judged]
        self.done["known"] += len(entries) - len(found)
        self._judged.update(str(one["address"]) for one in found)
        return found


def _import(context: Context) -> int:
    arguments = context.arguments
    name = "standard input" if arguments.file == "-" else arguments.file
    whitelist_time = checks.MAX_SECONDS
    if arguments.time is None:
        answer = context.daemon.ask("GET", "/v1/status")
        if failed(context, answer):
            return NO
        told = value(answer.body, "whitelist_time")
        if not isinstance(told, int):
            refuse(context, "no-time", "the daemon does not tell its --whitelist-time: give --time")
            return NO
        whitelist_time = told
    try:
        with sys.stdin.buffer if arguments.file == "-" else open(arguments.file, "rb") as file:  # noqa: PTH123
            return _take(_Import(context, name, whitelist_time), context, file)
    except OSError as error:
        refuse(context, "unreadable",
               f"cannot read {quoted(name)}: {os.strerror(error.errno) if error.errno else error}")
        return NO


def _take(work: _Import, context: Context, file: BinaryIO) -> int:
    numbered = _lines(file)
    first = list(islice(numbered, LOOKED_AT))
    format_ = context.arguments.format or recognize([line for _, line in first if line is not None])
    judged = work.judge(_both(first, numbered), format_)
    taken = all(map(work.send, work.pieces(judged)))
    if context.arguments.json:
        show_json(context, {
            "format": format_, **{key: work.done[key] for key in COUNTED},
            "passed_over": dict(work.passed_over), "rejected": work.left,
            "denied": work.denied, **_error(work.refused)})
    else:
        _report(work, context, format_)
    if work.refused is not None:
        warn(context, reason(work.refused))
        return USAGE if work.refused.status == BAD_REQUEST else NO
    return OK if taken and not work.faults and not work.done["left_out"] and not work.done["denied"] else NO


def _error(answer: Answer | None) -> dict[str, object]:
    """What the daemon said of a request that it did not take, as a part of the document."""
    return {} if answer is None else {"error": value(answer.body, "error") or {
        "code": "failed", "message": reason(answer)}}


def _report(work: _Import, context: Context, format_: str) -> None:
    done = work.done
    show(context, f"{'would enter' if context.arguments.check else 'entered'} {done['entered']} addresses and "
         f"{done['networks']} networks (format {format_})")
    for count, what in ((done["known"], "were known: they end no earlier than before"),
                        (done["left_out"] - done["networks_left_out"], "addresses found no room: the part of the "
                         "whitelist for hosts let in by hand or by a name is full, a sixteenth of --max-entries "
                         "(a network needs none of it)"),
                        (done["networks_left_out"], "networks found no room: no more can be there by hand"),
                        (done["shortened"], "have less time than the file says: an address stays for at most "
                         "--whitelist-time, who is proven for --proven-time"),
                        (done["denied"], "were entered and stay refused: a list denies them"),
                        (work.faults, "lines could not be taken")):
        if count:
            show(context, f"{count} {what}")
    for why, count in sorted(work.passed_over.items()):
        show(context, f"{count} lines were passed over: {why}")
    if work.faults > MOST_NAMED:
        warn(context, f"{work.faults - MOST_NAMED} further lines could not be taken; --json names all")


def _read(read: Reader, line: str | None) -> Item | Left | None:
    return Left(f"it is longer than {LONGEST_LINE} bytes") if line is None else read(line)


def _settled(items: Iterable[tuple[int, Item | Left]]) -> Iterator[tuple[int, Item | Left]]:
    # No other format needs it, and it takes its time.
    from mxallowd.ctl.firstmatch import settled  # noqa: PLC0415

    return settled(items)


def _both(first: Iterable[tuple[int, str | None]], others: Iterable[tuple[int, str | None]],
          ) -> Iterator[tuple[int, str | None]]:
    yield from first
    yield from others


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """The lines with their numbers; None in place of one that is too long."""
    number = 0
    while piece := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(piece) > LONGEST_LINE and not piece.endswith(b"\n"):
            while piece and not piece.endswith(b"\n"):
                piece = file.readline(LONGEST_LINE)
            yield number, None
        else:
            text = piece.decode("utf-8", "surrogateescape")
            yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")


COMMANDS = (
    Command("export", "print entries and networks added by hand, one JSON object a line, for import",
            "mxallowctl export >mxallowd.export", _export_arguments, _export),
    Command("import", "enter the addresses and networks of a file",
            "mxallowctl import /etc/postfix/postscreen_access.cidr", _import_arguments, _import),
)
