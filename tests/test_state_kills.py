"""Five hundred daemons are killed at any moment of their lives, and nobody is lost who was known for a second."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Host, Lab
from lab.programs import Sources, flood
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import packed
from mxallowd.mirrors.disk.blocks import Clock, boot_id
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.reading import load
from mxallowd.whitelist import unpack

KILLS = 500
RATE = 1000


@pytest.mark.alone
def test_nobody_is_lost_by_five_hundred_kills(lab: Lab, client: Host, tmp_path: Path) -> None:
    lab.queue_rule("23", tracked=False)
    arguments = [
        "-F", "-s", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23", "-b", "--user", "root", "--no-sandbox",
        "--no-watchdog", "--max-entries", "100000", "--max-refused", "1024", "--log-hosts", "100000"]
    program = Path(__file__).with_name("kills.py")
    sending = client.popen(flood(FAKE4, Sources("10.0.0.1", 90_000), rate=RATE))
    try:
        killing = lab.gateway.popen([sys.executable, str(program), str(tmp_path), str(KILLS), *arguments],
                                    stdout=subprocess.PIPE, text=True)
        output = killing.communicate(timeout=150)[0]
    finally:
        sending.kill()
        sending.wait(5)
    found = json.loads(output)
    directory = Directory(tmp_path, None)
    now = Clock(boot_id(), boottime_us(), 0)
    saved = load(directory, now, [28_800_000_000] * 6, [], 1 << 30)
    names = directory.names()
    directory.close()
    listed = {host for host, _, _ in unpack(saved.records)}
    assert len(found["safe"]) > 500
    assert {address for address in found["safe"] if packed(address) not in listed} == set()
    assert found["serving"] > KILLS // 25
    # A write that the kill has cut off is the only damage, and what was replaced is gone.
    assert {word for word in found["words"] if word.startswith("state-")} <= {"state-read", "state-damaged"}
    assert found["words"].get("state-damaged", 0) < KILLS // 20
    assert len(names) < KILLS // 4, names
