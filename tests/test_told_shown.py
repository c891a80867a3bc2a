"""What other gateways told is shown with the gateway's name: list, show, export, explain; and a flush is said as one.
"""
import asyncio
import json

import pytest

from mxallowd.control.answers.entries import Entries
from mxallowd.control.answers.export import Export
from mxallowd.control.answers.judging import why
from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import Request, RequestError, Response
from mxallowd.ctl.commands.entries import _row
from mxallowd.engine._table import CHILD, CONTACT
from mxallowd.engine.events import address_text
from mxallowd.following import Change
from mxallowd.history.hosts import Hosts
from tests.recorder import Recorder
from tests.strategies import HOSTS
from tests.test_telling import Site
from tests.test_told import HOUR_S, SECOND, wire

A, B, C, D, E = HOSTS[:5]
NAMES = {1: "mx1.example", 3: "mx3"}


class Told(Site):
    """A told child, a told contact of a gateway that nobody knows, and a contact of our own."""

    def __init__(self) -> None:
        super().__init__()
        self.whitelist.gateway_name = lambda gateway: NAMES.get(gateway, "")
        self.whitelist.gateway_number = {name: number for number, name in NAMES.items()}.__getitem__
        self.tell(wire(A, origin=CHILD), notes={A: "mail.example.org"})
        self.tell(wire(B), gateway=0)
        self.table.add(C, self.now + HOUR_S * SECOND, self.now, origin=CONTACT)
        self.since = Since(Hosts(lambda: self.now), lambda: HOUR_S)
        self.entries = Entries(self.whitelist, self.since, None, lambda: HOUR_S, Recorder().log)

    def ask(self, template: str, method: str = "GET", **parameters: str) -> Response:
        handler = next(one.handler for one in self.entries.routes() if (one.method, one.template) == (method, template))
        return asyncio.run(handler(Request(method, template, parameters)))  # type: ignore[arg-type]

    def query(self, method: str, gateway: str) -> Response:
        handler = next(one.handler for one in self.entries.routes() if (one.method, one.template) == (
            method, "/v1/entries"))
        return asyncio.run(handler(Request(method, "/v1/entries", query={"gateway": gateway})))  # type: ignore[arg-type]


def lines(response: Response) -> list[dict[str, object]]:
    async def read() -> bytes:
        assert response.pieces is not None
        return b"".join([piece async for piece in response.pieces])
    return [json.loads(line) for line in asyncio.run(read()).splitlines()]


GATEWAYS = {"198.51.100.1": "mx1.example", "198.51.100.2": None, "198.51.100.3": None}


def test_list_and_export_have_the_gateway() -> None:
    told = Told()
    listed = lines(told.ask("/v1/entries"))
    exported = lines(asyncio.run(Export(told.whitelist, told.since, None)._export(Request("GET", "/v1/export"))))
    for found in (listed, exported):
        assert {one["address"]: one.get("gateway") for one in found} == GATEWAYS
        assert [one["origin"] for one in found if one["address"] != "198.51.100.3"] == ["peer", "peer"]
    assert _row(next(one for one in listed if "gateway" in one)).endswith("told by mx1.example  mail.example.org")
    assert "told" not in _row(next(one for one in listed if "gateway" not in one))


def test_one_entry_has_the_gateway_and_its_note() -> None:
    found = Told().ask("/v1/entries/{address}", address="198.51.100.1").body
    assert isinstance(found, dict)
    assert (found["gateway"], found["note"]) == ("mx1.example", "mail.example.org")
    assert str(found["since"]).endswith("Z")


@pytest.mark.parametrize(("host", "text"), [
    (A, "the gateway mx1.example told of it"), (B, "another gateway told of it"), (C, "it contacted the fake server")])
def test_explain_names_the_gateway(host: bytes, text: str) -> None:
    assert why(Told().whitelist.entry(host), None, None, None) == text


def test_who_is_added_here_as_well_is_let_in_by_hand() -> None:
    told = Told()
    handler = next(one.handler for one in told.entries.routes() if one.method == "POST")
    request = Request("POST", "/v1/entries", body={"address": "198.51.100.1", "note": "bank"})
    found = asyncio.run(handler(request)).body  # type: ignore[arg-type,var-annotated]
    assert isinstance(found, dict)
    assert (found["origin"], found["note"], found.get("gateway")) == ("by-hand", "bank", None)


def test_a_flush_is_said_before_it_begins_and_ends_all() -> None:
    told, seen = Told(), []
    told.whitelist.before_flush = lambda: seen.append(told.listed(A, B, C))
    assert told.ask("/v1/entries", "DELETE").body == {"removed": 3}
    assert seen == [[True, True, True]]
    assert {change for _, change in told.teller.told} == {Change.FLUSHED}
    # What was said before it comes too late.
    assert told.tell(wire(A), ago_s=1).over == 1


def test_a_removal_is_no_flush() -> None:
    told, seen = Told(), []
    told.whitelist.before_flush = lambda: seen.append(1)
    assert told.ask("/v1/entries/{target:path}", "DELETE", target="198.51.100.0/24").body == {"removed": 3}
    assert ({change for _, change in told.teller.told}, seen) == ({Change.ENDED}, [])


def test_what_a_gateway_told_is_found_and_removed_whatever_its_notes_say() -> None:
    """All of it, and nothing else: neither what another one tells as well, nor what met our own fake server."""
    told = Told()
    told.tell(wire(D), gateway=3, notes={D: "told by mx1.example"})
    told.tell(wire(E), gateway=3)
    found = [{str(one["address"]) for one in lines(told.query("GET", name))} for name in NAMES.values()]
    assert found == [{"198.51.100.1"}, {address_text(D), address_text(E)}]
    told.tell(wire(E, origin=CONTACT), gateway=1)
    assert told.query("DELETE", "mx3").body == {"removed": 1}
    # It is said as a removal.
    assert told.copier.told == [(D, Change.ENDED)]
    assert told.listed(A, B, C, D, E) == [True, True, True, False, True]
    with pytest.raises(RequestError, match="nothing here was told by the gateway mx3 alone"):
        told.query("DELETE", "mx3")
    with pytest.raises(RequestError, match="is not the name of a gateway"):
        told.query("DELETE", "")
    assert told.listed(A, B, C) == [True] * 3
