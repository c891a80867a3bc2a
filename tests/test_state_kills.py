"""Five hundred daemons are killed at any moment of their lives, and nobody is lost who was known for a second."""
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Host, Lab
from lab.programs import ENDLESS, Sources, flood
from mxallowd.engine._table import ORIGINS
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import packed
from mxallowd.mirrors.disk.blocks import Clock, boot_id
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.reading import load
from mxallowd.whitelist import unpack

KILLS = 500
QUEUES = ("23", "24")  # of the daemons that live at the same time, each with a directory of its own
RATE = 2000


def kill(lab: Lab, queue: str, place: Path) -> "subprocess.Popen[str]":
    """Begin to kill a share of them."""
    arguments = [
        "-F", "-s", "-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", queue, "-b", "--user", "root", "--no-sandbox",
        "--no-watchdog", "--max-entries", "100000", "--max-refused", "1024", "--log-hosts", "100000",
        "--control", str(place.with_name(f"control{queue}"))]
    program = Path(__file__).with_name("kills.py")
    return lab.gateway.popen([sys.executable, str(program), str(place), str(KILLS // len(QUEUES)), *arguments],
                             stdout=subprocess.PIPE, text=True)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nobody_is_lost_by_five_hundred_kills(lab: Lab, client: Host, tmp_path: Path) -> None:
    lab.queue_rule(":".join(QUEUES), tracked=False)
    lab.take_any_source()
    with client.meanwhile(flood(FAKE4, Sources("10.0.0.1", 180_000), count=ENDLESS, rate=RATE)):
        killing = {queue: kill(lab, queue, tmp_path / queue) for queue in QUEUES}
        outputs = {queue: process.communicate(timeout=250)[0] for queue, process in killing.items()}
    serving = safe = 0
    words: Counter[str] = Counter()
    for queue, output in outputs.items():
        found = json.loads(output)
        directory = Directory(tmp_path / queue, None)
        saved = load(directory, Clock(boot_id(), boottime_us(), 0), [28_800_000_000] * (len(ORIGINS) + 1), [], 1 << 30)
        names = directory.names()
        directory.close()
        listed = {host for host, _, _ in unpack(saved.records)}
        assert {address for address in found["safe"] if packed(address) not in listed} == set()
        # What was replaced is gone.
        assert len(names) < KILLS // 8, names
        safe += len(found["safe"])
        serving += found["serving"]
        words.update(found["words"])
    assert safe > 500
    assert serving > KILLS // 25
    # A write that the kill has cut off is the only damage.
    assert {word for word in words if word.startswith("state-")} <= {"state-read", "state-damaged"}
    assert words["state-damaged"] < KILLS // 20
