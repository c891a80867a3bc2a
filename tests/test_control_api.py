"""The document of the API: it has every route, no other one, and the running daemon does what it says (schemathesis).

What schemathesis makes up goes over the UNIX socket: as many requests as there is time for.
"""
import ipaddress
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from lab.hosts import Lab
from mxallowd.control.answers.document import FILE
from mxallowd.control.answers.metrics import Metrics
from mxallowd.control.exchange import Route
from mxallowd.daemon.answers import all_routes
from tests.control_client import UnixConnection
from tests.daemon_process import DaemonProcess, serving

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
LONGEST_S = 0.2  # of an operation and a mode, from its first request on; as many as there is time for, at least one
EXAMPLES = 15


# Addresses that a host can have, so that what fits the document is taken.
HOSTS4 = strategies.ip_addresses(network="100.64.0.0/10").map(str)
HOSTS6 = strategies.ip_addresses(network="2001:db8:1::/48").map(str)
NETWORKS = strategies.one_of(
    HOSTS4, HOSTS6, strategies.builds(lambda host, bits: str(ipaddress.ip_network(f"{host}/{bits}", strict=False)),
                                      strategies.one_of(HOSTS4, HOSTS6), strategies.integers(8, 32)))

NOTES = strategies.text(strategies.characters(min_codepoint=32, max_codepoint=126), max_size=200)


class _Anything:
    """Any part of the daemon: of the answers only the routes are wanted."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())

    @property
    def metrics(self) -> Metrics:
        """A part that is an answer itself."""
        return Metrics.__new__(Metrics)


def routes() -> list[Route]:
    return all_routes(_Anything())  # type: ignore[arg-type]


def test_every_route_is_in_the_document_and_the_reverse() -> None:
    served = {(route.method, re.sub(r":path}", "}", route.template)) for route in routes()}
    documented = {(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert served == documented


def test_the_document_says_who_may_ask() -> None:
    for route in routes():
        operation = DOCUMENT["paths"][route.template.replace(":path}", "}")][route.method.lower()]
        assert ("Root" in operation["description"]) == route.changes, route.template
        assert route.changes == (route.method != "GET")
    assert len({one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()}) == len(routes())


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> Any:
        made = urllib3.connection.HTTPConnection("localhost")
        made._new_conn = self._socket  # type: ignore[method-assign]
        return made

    def _socket(self) -> Any:
        connection = UnixConnection(self._path)
        connection.connect()
        return connection.sock


class _Adapter(HTTPAdapter):
    """Requests over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._pool = _Pool(path)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def close(self) -> None:
        self._pool.close()


@pytest.fixture
def session(lab: Lab) -> Iterator[tuple[requests.Session, DaemonProcess]]:
    """A session over the socket of a daemon that serves."""
    with serving(lab) as daemon, requests.Session() as made:
        made.mount("http://", _Adapter(daemon.control))
        yield made, daemon


@pytest.mark.filterwarnings("ignore")
def test_the_daemon_does_what_the_document_says(session: tuple[requests.Session, DaemonProcess]) -> None:
    over_socket, daemon = session
    for name, strategy in (("ipv4", HOSTS4), ("ipv6", HOSTS6), ("network", NETWORKS),
                           ("host", NETWORKS | strategies.just("mail.example.org")),
                           ("printable-line", NOTES)):
        schemathesis.openapi.format(name, strategy)
    schema = schemathesis.openapi.from_path(FILE)
    asked: dict[str, int] = {}
    begun: dict[tuple[str, GenerationMode], float] = {}

    def trying(mode: GenerationMode, operation: Any) -> Any:
        @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def try_it(case: Any) -> None:
            if time.monotonic() > begun.setdefault((operation.label, mode), time.monotonic()) + LONGEST_S:
                return
            answer = case.call(base_url="http://localhost", session=over_socket)
            asked[operation.label] = asked.get(operation.label, 0) + 1
            assert answer.status_code != 500, answer.text
            if answer.status_code == 431:
                # Any request may have a head that is too long, so the document says it of none.
                return
            # Too long is too long, whatever is wrong besides; schemathesis does not count that as a refusal.
            too_long = answer.status_code == 413
            case.validate_response(answer, excluded_checks=[negative_data_rejection] if too_long else [])
        return try_it

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # the document is right
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                trying(mode, operation)()
            except Unsatisfiable:
                continue
    assert len(asked) == len(routes()), asked
    assert not [line for line in daemon.messages() if line.startswith("defect")]
