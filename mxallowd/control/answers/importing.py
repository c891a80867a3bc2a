"""The import: many entries and networks at once. What cannot be taken is named; it keeps nothing else out."""
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from mxallowd.control.answers.bodies import bad, fields_of, host_of, network_of, no_parameters, note_of, seconds_of
from mxallowd.control.answers.networks import EXPORTED, OwnNetwork, OwnNetworks, check_allowed, shown
from mxallowd.control.documents import MOST_PARTS
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, ORIGINS, OUTBOUND, PATIENCE, RESTORED
from mxallowd.log import Log
from mxallowd.process.turns import Turns
from mxallowd.provenance import Note
from mxallowd.text import LONGEST_QUOTED, quoted
from mxallowd.whitelist import Whitelist, pack

Enter = Callable[[bytes], Awaitable[Sequence[int]]]
"""Enters records of entries: how many were entered, known and left out."""
# Origins whose entries last no longer than --whitelist-time; who is proven, and outbound, no longer than --proven-time.
OF_LIFETIME = (CONTACT, CHILD, RESTORED, PATIENCE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
MOST = MOST_PARTS  # entries and networks of a request


class _Moved(NamedTuple):
    """An entry of another daemon, as it was there."""

    host: bytes
    until_us: int
    record: bytes
    note: Note | None
    proven: bool
    shortened: bool  # it lasted longer there than it may here


class Import:
    """Enters what an operator has from elsewhere."""

    def __init__(
        self, whitelist: Whitelist, networks: OwnNetworks | None, lifetimes_s: Callable[[], tuple[int, int]], log: Log,
        enter: Enter,
    ) -> None:
        """As Entries has them; `lifetimes_s` of any host and of a proven one, `enter` is for what keeps its origin."""
        self._enter_records = enter
        self._whitelist = whitelist
        self._networks = networks
        self._lifetimes_s = lifetimes_s
        self._log = log

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("POST", "/v1/import", self._import, changes=True, long=True)]

    async def _import(self, request: Request) -> Response:
        no_parameters(request)
        body = fields_of(request.body, (), ("entries", "networks", "check"))
        check = body.get("check", False)
        if not isinstance(check, bool):
            raise bad("check is neither true nor false")
        entries, networks = (_objects(body.get(key, []), key) for key in ("entries", "networks"))
        if len(entries) + len(networks) > MOST:
            raise RequestError(422, "too-many", f"more than {MOST} entries and networks in one request")
        found: Counter[str] = Counter()
        denied: list[dict[str, object]] = []
        rejected: list[dict[str, object]] = []
        judged: set[bytes] = set()
        turns = Turns()
        moved: list[_Moved] = []
        for entry in entries:
            await turns.give()
            try:
                if entry.get("origin") is not None:
                    moved.append(self._moved(entry))
                else:
                    found[self._enter(entry, judged if check else None)] += 1
                denied += self._denied(entry["address"])
            except RequestError as error:
                rejected.append({"what": _what(entry.get("address")), "reason": str(error)})
        found.update(
            Counter(self._judge(one.host, judged) for one in moved) if check else await self._move(moved, turns))
        taken = []
        for given in networks:
            await turns.give()
            try:
                taken.append(self._network(given))
            except RequestError as error:
                rejected.append({"what": _what(given.get("network")), "reason": str(error)})
        entered, known, left_out = await self._take(taken, check=check)
        found["known"] += known
        for network in taken:
            await turns.give()
            denied += self._denied(str(network.network)) if network.verdict != "deny" else ()
        answer = {"entered": found["entered"], "known": found["known"], "networks": entered,
                  "left_out": found["left_out"] + left_out, "networks_left_out": left_out, "rejected": rejected,
                  "denied": denied, "shortened": sum(one.shortened for one in moved)}
        if check:
            return Response(answer)
        self._log.notice("imported", None, **request.who, entered=found["entered"], known=found["known"],
                         networks=entered, left_out=found["left_out"] + left_out, rejected=len(rejected))
        return Response(answer)

    async def _take(self, networks: list[OwnNetwork], *, check: bool) -> tuple[int, int, int]:
        """Let them hold, or only look; how many are new, known and left out."""
        if not networks or self._networks is None:
            return 0, 0, 0
        if not check:
            added = await self._networks.add(networks)
            return added.entered, added.known, added.left_out
        new = {(one.verdict, one.network) for one in networks if not self._networks.has(one.verdict, one.network)}
        return len(new), len(networks) - len(new), 0

    def _enter(self, entry: dict[str, object], judged: set[bytes] | None) -> str:
        """What becomes of it: entered, known or left_out. `judged` gets those that would be entered; None: it is."""
        fields_of(entry, ("address",), ("seconds", "note"))
        host = host_of(entry["address"])
        seconds, note = seconds_of(entry.get("seconds"), self._lifetimes_s()[0]), note_of(entry.get("note"))
        if reason := self._whitelist.why_no_entry(host):
            raise RequestError(422, "no-host", f"it {reason}")
        if judged is not None:
            return self._judge(host, judged)
        now_us = self._whitelist.now_us()
        until_us = now_us + 1_000_000 * seconds
        if self._whitelist.admit(host, until_us, now_us, origin=BY_HAND, note=note):
            return "entered"
        known = self._whitelist.renew(host, until_us, now_us) or self._whitelist.find(host) is not None
        self._whitelist.claim(host, BY_HAND)
        if known and note:
            self._whitelist.annotate(host, note)
        return "known" if known else "left_out"

    def _judge(self, host: bytes, judged: set[bytes]) -> str:
        # Whether there is room is known only once others have made it.
        if host in judged or self._whitelist.find(host) is not None:
            return "known"
        judged.add(host)
        return "entered"

    def _denied(self, what: object) -> list[dict[str, object]]:
        """What a deny holds out all the same, as an object; none where none does."""
        if self._networks is None:
            return []
        found = self._networks.deciding(network_of(what), "deny")
        return [{"what": _what(what), "by": shown(found[0])}] if found else []

    def _moved(self, entry: dict[str, object]) -> _Moved:
        fields_of(entry, ("address", "origin"), ("seconds", "note", "used", "proven", "since"))
        host = host_of(entry["address"])
        if reason := self._whitelist.why_no_entry(host):
            raise RequestError(422, "no-host", f"it {reason}")
        if entry["origin"] not in ORIGINS:
            raise bad(f"origin is none of {', '.join(ORIGINS)}")
        origin = ORIGINS.index(str(entry["origin"]))
        used, proven = (_truth(entry, key) for key in ("used", "proven"))
        seconds, note = seconds_of(entry.get("seconds"), self._lifetimes_s()[0]), note_of(entry.get("note"))
        wanted = seconds
        if origin in OF_LIFETIME:
            seconds = min(seconds, self._lifetimes_s()[proven])
        elif origin == OUTBOUND:
            seconds = min(seconds, self._lifetimes_s()[True])
        since_s = _since(entry.get("since"))
        until_us = self._whitelist.now_us() + 1_000_000 * seconds
        return _Moved(
            host, until_us, pack(host, until_us, used=used or proven, origin=origin),
            Note(since_s, note) if note or origin != CONTACT else None, proven,
            seconds < wanted)

    async def _move(self, moved: list[_Moved], turns: Turns) -> dict[str, int]:
        records = []
        for one in moved:
            await turns.give()
            # Who is known needs no room.
            if self._whitelist.find(one.host) is None:
                records.append(one.record)
            else:
                self._whitelist.renew(one.host, one.until_us, self._whitelist.now_us())
        entered, known, left_out = await self._enter_records(b"".join(records)) if records else (0, 0, 0)
        known += len(moved) - len(records)
        for one in moved:
            await turns.give()
            if self._whitelist.find(one.host) is not None:
                self._whitelist.entered(one.host, one.note, proven=one.proven)
        return {"entered": entered, "known": known, "left_out": left_out}

    def _network(self, given: dict[str, object]) -> OwnNetwork:
        fields_of(given, ("network", "verdict"), ("seconds", "note"))
        if given["verdict"] not in EXPORTED:
            raise bad(f"verdict is none of {', '.join(EXPORTED)}")
        if self._networks is None:
            raise RequestError(409, "not-kept", "networks are not kept here")
        seconds = given.get("seconds")
        until_s = None if seconds is None else time.time() + seconds_of(seconds, 0)
        network = network_of(given["network"])
        if given["verdict"] != "deny":
            check_allowed(network, self._whitelist.why_no_entry)
        return OwnNetwork(str(given["verdict"]), network, note_of(given.get("note")), until_s)


def _truth(entry: dict[str, object], key: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise bad(f"{key} is neither true nor false")
    return value


def _since(value: object) -> int:
    """Seconds since 1970 of a time as timestamp() writes it; now, where none is given or it is still to come."""
    now_s = int(time.time())
    if value is None:
        return now_s
    try:
        # strptime() would import a module, which the daemon's user may be unable to read by now.
        if not _TIME.fullmatch(str(value)):
            raise ValueError
        return max(0, min(now_s, int(datetime.fromisoformat(str(value)).timestamp())))
    except ValueError:
        raise bad(f"since {quoted(str(value)[:LONGEST_QUOTED])} is no time") from None


def _objects(value: object, key: str) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise bad(f"{key} is not a list of objects")
    return value


def _what(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:LONGEST_QUOTED]
