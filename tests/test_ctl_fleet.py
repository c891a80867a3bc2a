"""mxallowctl fleet, and what monitoring is told: what they make of the document that the API describes."""
import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from mxallowd.control.answers.document import FILE
from mxallowd.control.answers.fleet import summary
from mxallowd.ctl.__main__ import main
from mxallowd.fleet.keys import parse
from mxallowd.metrics import fleet
from mxallowd.metrics.exposition import render
from tests.control_standin import Standin, document

FORGED = {"forged": 3, "too-fast": 0}
PEERS: list[dict[str, Any]] = [
    {"origin": "mx2", "shared": False, "heard_seconds": 0, "lag_ms": 12, "longest_seconds": 28_800,
     "entries": 1204, "records": 90_000, "epoch": "1f", "refused": {}},
    {"origin": "mx3", "shared": True, "heard_seconds": 7200, "lag_ms": None, "longest_seconds": 60, "entries": 0,
     "records": 1, "epoch": "2a", "refused": FORGED}]
DOCUMENT: dict[str, Any] = {
    "site": "example", "origin": "mx1", "origin_shared": False, "engine": "rediss://192.0.2.53", "keys": ["0a1b2c3d"],
    "connected": True, "since_seconds": 11_040,
    "fault": None, "remedy": None, "warnings": [], "clock_seconds": -12,
    "heard_seconds": 0, "said_seconds": 3, "read_seconds": 0,
    "waiting": 7, "told": 1204, "told_room": 1_000_000, "longest_seconds": 28_800,
    "stream": {"first": "1-0", "last": "1764000000000-3", "length": 41_233}, "refused": {"key": 2, **FORGED},
    "peers": PEERS, "peers_left_out": 0,
    "strangers": [{"origin": "mx9", "reason": "key", "messages": 2, "heard_seconds": 60}]}
BROKEN = {**DOCUMENT, "connected": False, "since_seconds": 12, "fault": "192.0.2.53:6379: no \x1b[2J answer",
          "remedy": "raise maxmemory of the engine", "warnings": ["its maxmemory-policy is allkeys-lru"],
          "clock_seconds": 86_400,
          "said_seconds": None, "stream": None, "peers": [], "refused": {}, "strangers": [], "origin_shared": True}


def test_the_documents_here_are_what_the_api_describes() -> None:
    schema = json.loads(FILE.read_text(encoding="utf-8"))["components"]["schemas"]["fleet"]
    for one in (DOCUMENT, BROKEN):
        assert set(one) == set(schema["required"]) == set(schema["properties"])
    for peer in PEERS:
        assert set(peer) == set(schema["properties"]["peers"]["items"]["required"])


def ctl(tmp_path: Path, answer: bytes, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with Standin(tmp_path, [answer]) as server, redirect_stdout(out), redirect_stderr(err):
        status = main(["--socket", server.path, "fleet", *words])
        assert server.requests[0].startswith(b"GET /v1/fleet HTTP/1.1\r\n")
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("words", [(), ("status",)])
def test_each_gateway_is_shown(tmp_path: Path, words: Sequence[str]) -> None:
    assert ctl(tmp_path, document(json.dumps(DOCUMENT)), *words) == (0, """\
site      example, this gateway is mx1
keys      0a1b2c3d signs
engine    rediss://192.0.2.53
          connected for 3 h 4 min
last      heard 0 s ago, said 3 s ago, the engine answered 0 s ago
waiting   7 hosts to be said
told      1204 entries of 1000000
stream    41233 batches, 1-0 to 1764000000000-3
refused   key 2, forged 3

gateway  last heard     lag    entries  records  refused
mx2      0 s ago        12 ms  1204     90000    -
mx3      2 h 0 min ago  -      0        1        forged 3
two gateways are mx3: give each a fleet-origin of its own
mx3 has another time: hosts stay there for 60 s at most, here for 28800 s (whitelist-time, proven-time)
somebody speaks as mx9 with another key: 2 messages, the last 1 min ago
""", "")


def test_what_is_broken_is_said_with_the_remedy(tmp_path: Path) -> None:
    assert ctl(tmp_path, document(json.dumps(BROKEN))) == (1, """\
site      example, this gateway is mx1
warning   another gateway is mx1, too: give each a fleet-origin of its own
keys      0a1b2c3d signs
engine    rediss://192.0.2.53
          cannot be used for 12 s: 192.0.2.53:6379: no \\x1b[2J answer
          mend: raise maxmemory of the engine
warning   its maxmemory-policy is allkeys-lru
last      heard 0 s ago, said never, the engine answered 0 s ago
waiting   7 hosts to be said
told      1204 entries of 1000000
refused   -

no other gateway was heard yet
""", "")


def test_json_is_the_document(tmp_path: Path) -> None:
    status, out, err = ctl(tmp_path, document(json.dumps(BROKEN)), "--json")
    assert (status, json.loads(out), err) == (1, BROKEN, "")


def test_without_a_fleet_it_says_so(tmp_path: Path) -> None:
    answer = document('{"error": {"code": "no-fleet", "message": "this gateway has no fleet"}}', "404 Not Found")
    assert ctl(tmp_path, answer) == (1, "", "mxallowctl: this gateway has no fleet\n")


def test_the_status_has_it_in_few_words() -> None:
    assert summary(DOCUMENT | {"peers_left_out": 5}) == {
        "site": "example", "origin": "mx1", "engine": "rediss://192.0.2.53", "connected": True, "fault": None,
        "told": 1204, "peers": 7}


def test_what_monitoring_is_told() -> None:
    text = render(fleet.values(DOCUMENT))
    for line in ("mxallowd_fleet_connected 1", "mxallowd_fleet_peers 2", "mxallowd_fleet_told_entries 1204",
                 "mxallowd_fleet_hosts_waiting 7", 'mxallowd_fleet_peer_heard_age_seconds{peer="mx3"} 7200',
                 'mxallowd_fleet_peer_lag_seconds{peer="mx2"} 0.012', 'mxallowd_fleet_peer_entries{peer="mx2"} 1204',
                 'mxallowd_fleet_peer_refused_total{peer="mx3"} 3'):
        assert f"{line}\n" in text
    assert "untyped" not in text
    assert fleet.faults(DOCUMENT) == []
    text = render(fleet.values(BROKEN))
    assert "mxallowd_fleet_connected 0\n" in text
    assert "fleet_said_age" not in text
    (said,) = fleet.faults(BROKEN)
    assert "192.0.2.53" not in said


def test_the_number_of_series_has_a_bound() -> None:
    peers = [{**PEERS[0], "origin": f"mx{number:04}"} for number in range(1024)]
    found = fleet.values(DOCUMENT | {"peers": peers, "peers_left_out": 7})
    assert found["fleet_peers"] == 1031
    for name in ("entries", "lag_seconds", "heard_age_seconds", "refused"):
        of_peers = found[f"fleet_peer_{name}"]
        assert isinstance(of_peers, dict)
        assert list(of_peers) == [f"mx{number:04}" for number in range(fleet.MOST_PEERS)]


def test_a_key_is_made_without_a_daemon() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["--socket", "/nonexistent", "fleet", "key"]) == 0
        assert main(["--socket", "/nonexistent", "fleet", "key", "--json"]) == 0
    first, second = out.getvalue().splitlines()
    both = f"{first}\n{json.loads(second)['key']}\n".encode()
    assert len(parse(both, "fleet.key", "example").numbers()) == 2
