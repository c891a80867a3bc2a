"""No module is imported once the privileges are gone: the daemon's user need not be able to read Python's library."""
import signal
import sys
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.gateways import Place
from lab.hosts import Lab
from mxallowd.fleet.keys import new_key
from tests.control_client import ask
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess

# Says of each import that comes after the privileges are given up: an audit event (PEP 578), of what is not loaded yet.
WATCHED = """
import os, sys
from mxallowd import cli
from mxallowd.daemon import start
give_up = start.privileges.give_up

def hook(event, arguments):
    if event == "import" and sys.modules.get(arguments[0]) is None:
        os.write(1, b"01.01.2026 00:00:00 - loads %s\\n" % arguments[0].encode())

def watched(user):
    found = give_up(user)
    # The start need not wait for an engine that does not come.
    sys.modules["mxallowd.fleet.member"].LOADING_S = 0.1
    sys.addaudithook(hook)
    return found

start.privileges.give_up = watched
sys.exit(cli.main(sys.argv[1:]))
"""
SCRAPE = "from urllib.request import urlopen; urlopen('http://127.0.0.1:9199/metrics').read()"
TIME = "2026-11-27T06:00:00Z"
ENTRY = {"address": "203.0.113.8", "seconds": 90, "note": "b\u00e4nk"}
MOVED = {"address": "203.0.113.9", "seconds": 90, "origin": "child", "since": TIME, "note": "mx.example.org"}
NETWORK = {"network": "203.0.113.0/24", "verdict": "deny", "seconds": 90}
REQUESTS: tuple[tuple[str, str, object], ...] = (
    ("GET", "/v1/status", None), ("GET", "/v1/counters", None), ("GET", "/v1/openapi.json", None),
    ("GET", "/v1/log-level", None), ("PUT", "/v1/log-level", {"level": "debug"}), ("PUT", "/v1/log-level", {}),
    ("POST", "/v1/entries", ENTRY), ("POST", "/v1/entries", {"network": "2001:db8::/32"}), ("POST", "/v1/entries", []),
    ("GET", "/v1/entries", None), ("GET", "/v1/entries?note=B%C3%84NK&network=203.0.113.0/24", None),
    ("GET", "/v1/entries/203.0.113.8", None), ("GET", "/v1/entries/none", None),
    ("POST", "/v1/import", {"entries": [ENTRY, MOVED], "networks": [NETWORK]}),
    ("POST", "/v1/import", {"entries": [ENTRY, {**MOVED, "since": "soon"}], "check": True}),
    ("GET", "/v1/lists", None), ("POST", "/v1/lists/allow", {"network": "2001:db8::/48", "seconds": 90}),
    ("POST", "/v1/lists/direct", {"network": "203.0.113.7"}), ("DELETE", "/v1/lists/allow", {"network": "::/0"}),
    ("POST", "/v1/lists/deny", {"network": "203.0.113.0/25"}), ("DELETE", "/v1/lists/deny", {"network": "nonsense"}),
    ("GET", "/v1/explain/203.0.113.8", None), ("GET", "/v1/explain/203.0.113.0/24", None),
    ("GET", "/v1/explain/b%C3%A4nk.example", None), ("GET", "/v1/explain/mx.example.org", None),
    ("GET", "/v1/explain/%C3%BCber%FF", None), ("GET", "/v1/export", None), ("GET", "/v1/doctor", None),
    ("GET", "/v1/top", None), ("GET", "/v1/forecast", None), ("GET", "/v1/first-mx-only", None),
    ("GET", "/v1/trust", None), ("GET", "/v1/fleet", None), ("POST", "/v1/trust/refresh", {}),
    ("POST", "/v1/reload", {}), ("GET", "/none", None),
    ("GET", "/healthz", None), ("DELETE", "/v1/entries/203.0.113.0%2F24", None), ("DELETE", "/v1/entries", None))


@pytest.mark.parametrize("way", ["queue", "capture", "reload"])
def test_no_module_is_loaded_once_the_privileges_are_gone(guarded: Lab, tmp_path: Path, way: str) -> None:
    config, networks, trusted, key = (tmp_path / name for name in ("mxallowd.conf", "some.list", "trusted", "key"))
    networks.write_text("198.51.100.0/24 # some\n", encoding="ascii")
    trusted.write_text("spf example.org\nnetwork 198.18.0.0/24\n", encoding="ascii")
    lines = (f"allow {networks}\ntrust {trusted}\npool-domain\npatience 3/60\ndns-server 127.0.0.1\n"
             "proven-time 90000\ndirect-after 3/6h\n")
    config.write_text("no-rdns-whitelist\n" if way == "reload" else lines, encoding="ascii")
    key.write_text(f"{new_key()}\n", encoding="ascii")
    key.chmod(0o600)
    # By a name that is looked up, by a socket, and by one that nobody listens at.
    engine = {"queue": "redis://localhost", "capture": f"unix://{tmp_path}/none", "reload": "redis://127.0.0.1:1/0"}[way]
    fleet = ("--fleet", engine, "--fleet-site", "example", "--fleet-key-file", str(key))
    packets = ("-p", "nflog:5") if way == "capture" else ("-n", QUEUE, "--network-key", "24/64")
    with Engine(Place(guarded.gateway, "127.0.0.1")), DaemonProcess(
            guarded.gateway, ["-c", str(config), *SERVERS, *packets, *fleet, "--metrics", "127.0.0.1:9199"],
            script=WATCHED) as daemon:
        daemon.wait_for("start ")
        daemon.wait_for("fleet-joined " if way == "queue" else "fleet-broken ")
        if way == "reload":
            config.write_text(lines, encoding="ascii")
        for method, target, body in (("POST", "/v1/reload", {}), *REQUESTS):
            status, answer = ask(daemon.control, method, target, body)
            assert status < 500, (target, answer)
        config.write_text(f"{lines}whitelist-time 7\nrenew soon\n", encoding="ascii")
        networks.write_text("198.51.100.1/24\n", encoding="ascii")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reload-failed")
        daemon.counters()
        guarded.gateway.run([sys.executable, "-c", SCRAPE])
        assert daemon.stop() == 0
        assert [line for line in daemon.messages() if line.startswith("loads ")] == []
