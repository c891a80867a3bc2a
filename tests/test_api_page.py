"""docs/reference/api.md: it is what the document of the API says, and a running daemon answers each of its examples."""
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents.api import BODIES, PATHS, PLACE, SOCKET, page
from documents.tables import RENEW
from lab.engine import Engine
from lab.gateways import Place
from lab.hosts import Lab
from mxallowd.control.answers.document import FILE
from mxallowd.fleet.keys import new_key
from tests.control_client import ask
from tests.daemon_process import DaemonProcess, serving

OPERATIONS = [one for methods in json.loads(FILE.read_text(encoding="utf-8"))["paths"].values()
              for one in methods.values()]


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon with a file of trusted senders, and with a fleet."""
    trusted, key = tmp_path / "trusted-senders", tmp_path / "key"
    trusted.write_text("network 192.0.2.128/25\n", encoding="ascii")
    key.touch(0o600)
    key.write_text(new_key(), encoding="ascii")
    with Engine(Place(lab.gateway, "127.0.0.1")) as engine, serving(
            lab, "--trust", str(trusted), "--fleet", f"redis://{engine.address}", "--fleet-site", "example",
            "--fleet-key-file", str(key)) as process:
        yield process


def test_it_is_what_the_document_says() -> None:
    assert PLACE.read_text(encoding="utf-8") == page(), f"renew it: {RENEW}"


def test_no_example_is_for_nothing() -> None:
    assert {*PATHS, *BODIES} <= {one["operationId"] for one in OPERATIONS}


def test_a_daemon_answers_each_example(daemon: DaemonProcess) -> None:
    commands = re.findall(r"^    (curl .+)$", PLACE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == len(OPERATIONS) + 1
    for command in commands:
        if "-X DELETE" in command:
            # So that there is something to be removed.
            ask(daemon.control, "POST", "/v1/entries", {"address": "203.0.113.7"})
            ask(daemon.control, "POST", "/v1/lists/deny", {"network": "198.51.100.0/24"})
        if command.endswith("/entries/203.0.113.7"):
            ask(daemon.control, "POST", "/v1/entries", {"address": "203.0.113.7"})
        line = command.replace(SOCKET, str(daemon.control)).replace("curl", "curl -sSf", 1)
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{command}: {done.stderr}"
