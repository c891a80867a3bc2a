"""The import: many entries and networks at once. What cannot be taken is named; it keeps nothing else out."""
import time
from collections import Counter
from collections.abc import Callable

from mxallowd.control.answers.bodies import bad, fields_of, host_of, network_of, no_parameters, note_of, seconds_of
from mxallowd.control.answers.networks import VERDICTS, OwnNetwork, OwnNetworks, check_allowed, shown
from mxallowd.control.documents import MOST_PARTS
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.engine._table import BY_HAND
from mxallowd.log import Log
from mxallowd.process.turns import Turns
from mxallowd.text import LONGEST_QUOTED
from mxallowd.whitelist import Whitelist

MOST = MOST_PARTS  # entries and networks of a request


class Import:
    """Enters what an operator has from elsewhere."""

    def __init__(
        self, whitelist: Whitelist, networks: OwnNetworks | None, lifetime_s: Callable[[], int], log: Log,
    ) -> None:
        """As Entries has them."""
        self._whitelist = whitelist
        self._networks = networks
        self._lifetime_s = lifetime_s
        self._log = log

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("POST", "/v1/import", self._import, changes=True, long=True)]

    async def _import(self, request: Request) -> Response:
        no_parameters(request)
        body = fields_of(request.body, (), ("entries", "networks"))
        entries, networks = (_objects(body.get(key, []), key) for key in ("entries", "networks"))
        if len(entries) + len(networks) > MOST:
            raise RequestError(422, "too-many", f"more than {MOST} entries and networks in one request")
        found: Counter[str] = Counter()
        denied: list[dict[str, object]] = []
        rejected: list[dict[str, object]] = []
        turns = Turns()
        for entry in entries:
            await turns.give()
            try:
                found[self._enter(entry)] += 1
                denied += self._denied(entry["address"])
            except RequestError as error:
                rejected.append({"what": _what(entry.get("address")), "reason": str(error)})
        taken = []
        for network in networks:
            await turns.give()
            try:
                taken.append(self._network(network))
            except RequestError as error:
                rejected.append({"what": _what(network.get("network")), "reason": str(error)})
        if taken and self._networks is not None:
            await self._networks.add(taken)
            for one in taken:
                await turns.give()
                denied += self._denied(str(one.network)) if one.verdict == "allow" else ()
        answer = {"entered": found["entered"], "known": found["known"], "networks": len(taken),
                  "left_out": found["left_out"], "rejected": rejected, "denied": denied}
        self._log.notice("imported", None, user=request.user, entered=found["entered"], known=found["known"],
                         networks=len(taken), left_out=found["left_out"], rejected=len(rejected))
        return Response(answer)

    def _enter(self, entry: dict[str, object]) -> str:
        fields_of(entry, ("address",), ("seconds", "note"))
        host = host_of(entry["address"])
        seconds, note = seconds_of(entry.get("seconds"), self._lifetime_s()), note_of(entry.get("note"))
        if reason := self._whitelist.why_no_entry(host):
            raise RequestError(422, "no-host", f"it {reason}")
        now_us = self._whitelist.now_us()
        until_us = now_us + 1_000_000 * seconds
        if self._whitelist.admit(host, until_us, now_us, origin=BY_HAND, note=note):
            return "entered"
        known = self._whitelist.renew(host, until_us, now_us) or self._whitelist.find(host) is not None
        if known and note:
            self._whitelist.annotate(host, note)
        return "known" if known else "left_out"

    def _denied(self, what: object) -> list[dict[str, object]]:
        """What a deny holds out all the same, as an object; none where none does."""
        if self._networks is None:
            return []
        found = self._networks.deciding(network_of(what), "deny")
        return [{"what": _what(what), "by": shown(found[0])}] if found else []

    def _network(self, given: dict[str, object]) -> OwnNetwork:
        fields_of(given, ("network", "verdict"), ("seconds", "note"))
        if given["verdict"] not in VERDICTS:
            raise bad(f"verdict is none of {', '.join(VERDICTS)}")
        if self._networks is None:
            raise RequestError(409, "not-kept", "networks are not kept here")
        seconds = given.get("seconds")
        until_s = None if seconds is None else time.time() + seconds_of(seconds, 0)
        network = network_of(given["network"])
        if given["verdict"] == "allow":
            check_allowed(network, self._whitelist.why_no_entry)
        return OwnNetwork(str(given["verdict"]), network, note_of(given.get("note")), until_s)


def _objects(value: object, key: str) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise bad(f"{key} is not a list of objects")
    return value


def _what(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:LONGEST_QUOTED]
