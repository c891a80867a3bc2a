"""What operators and monitoring see of a running fleet: mxallowctl, doctor, the API, the status and the metrics."""
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lab.engine import Engine
from lab.gateways import Place
from lab.hosts import Lab
from mxallowd.control.answers.document import FILE
from mxallowd.fleet.keys import new_key
from tests.control_client import UnixConnection, ask
from tests.daemon_process import SERVERS, DaemonProcess
from tests.until import until

HOST = "192.0.2.101"


class Shown:
    """A gateway's daemon, and what is asked of it."""

    def __init__(self, lab: Lab, daemon: DaemonProcess) -> None:
        self.lab, self.daemon = lab, daemon

    def ask(self, target: str) -> Any:
        return ask(self.daemon.control, "GET", target)[1]

    def ctl(self, *words: str) -> str:
        done: subprocess.CompletedProcess[str] = self.lab.gateway.run(
            [sys.executable, "-m", "mxallowd.ctl", *words, "--socket", str(self.daemon.control)],
            capture_output=True, text=True)
        return done.stdout

    def doctor(self) -> dict[str, dict[str, Any]]:
        """What it says of the fleet, by its words."""
        found = json.loads(self.ctl("doctor", "--json"))["findings"]
        return {one["check"]: one for one in found if one["check"].startswith("fleet-")}

    def scraped(self) -> str:
        connection = UnixConnection(self.daemon.control)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[tuple[Engine, Shown]]:
    """An engine and a gateway `a`; `b` has told it of HOST, and `c`, which has another key, of another host.

    All are on one host: nobody sends a packet.
    """
    keys = [tmp_path / "key", tmp_path / "other"]
    for key in keys:
        key.touch(0o600)
        key.write_text(new_key(), encoding="ascii")
    with Engine(Place(lab.gateway, "127.0.0.1")) as engine, ExitStack() as stack:
        gateways = [Shown(lab, stack.enter_context(DaemonProcess(lab.gateway, [
            "-c", "/dev/null", *SERVERS, "-n", queue, "-b", "--fleet", f"redis://{engine.address}", "--fleet-site",
            "example", "--fleet-key-file", str(key), "--fleet-origin", name, "--max-entries", "1000"])))
            for name, queue, key in (("a", "23", keys[0]), ("b", "24", keys[0]), ("c", "25", keys[1]))]
        for one in gateways:
            one.daemon.wait_for("start ", timeout=15)
        a, b, c = gateways
        ask(b.daemon.control, "POST", "/v1/entries", {"address": HOST})
        ask(c.daemon.control, "POST", "/v1/entries", {"address": "192.0.2.102"})
        assert until(lambda: a.ask("/v1/fleet")["told"] == 1 and a.ask("/v1/fleet")["strangers"])
        yield engine, a


def test_a_fleet_and_its_engine_that_ends(site: tuple[Engine, Shown]) -> None:
    engine, a = site
    document = a.ask("/v1/fleet")
    jsonschema.validate(document, json.loads(FILE.read_text(encoding="utf-8"))["components"]["schemas"]["fleet"])
    assert [(one["origin"], one["entries"]) for one in document["peers"]] == [("b", 1)]
    assert [one["origin"] for one in document["strangers"]] == ["c"]
    text = a.ctl("fleet")
    assert "site      example, this gateway is a\n" in text
    assert re.search(r"^b        \d+ s ago", text, re.MULTILINE)
    assert "somebody speaks as c with another key: " in text
    url = f"redis://{engine.address}"
    assert a.ask("/v1/status")["fleet"] == {
        "site": "example", "origin": "a", "engine": url, "connected": True, "fault": None, "told": 1, "peers": 1}
    assert f"fleet      example at {url}: 1 other gateways, 1 entries of theirs\n" in a.ctl("status")
    metrics = a.scraped()
    for line in ("mxallowd_fleet_connected 1", 'mxallowd_fleet_peer_entries{peer="b"} 1', "mxallowd_fleet_peers 1"):
        assert f"\n{line}\n" in metrics
    assert {name: one["state"] for name, one in a.doctor().items()} == {
        "fleet-engine": "ok", "fleet-peers": "ok", "fleet-key": "warning"}

    engine.kill()
    assert until(lambda: not a.ask("/v1/fleet")["connected"])
    assert "cannot be used for " in a.ctl("fleet", "status")
    assert until(lambda: "mend: start the engine" in a.ctl("fleet", "status"))
    text = a.ctl("explain", "192.0.2.200")
    assert re.search(r"  the fleet is broken for \d+ s: a contact at another gateway since then is not known", text)
    assert "mxallowctl add 192.0.2.200 --time 86400  # at the other gateways" in text
    assert "the fleet is broken" not in a.ctl("explain", HOST)
    found = a.doctor()["fleet-engine"]
    assert (found["state"], found["command"].partition("  #")[0]) == ("broken", f"nc -vz -w 3 {engine.address} 6379")
    ready = a.ask("/readyz")
    assert len(ready["warnings"]) == 1
    assert engine.address not in ready["warnings"][0]
