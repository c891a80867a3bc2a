"""A trial on the running daemon: mxallowctl forecast and first-mx-only, over a day that its clocks leap through."""
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from tests.clocks import Clocks
from tests.daemon_process import SENDER4, SENDER6, DaemonProcess, serving

SPAMMER4, SPAMMER6, BANK4 = "192.0.2.66", "2001:db8::66", "192.0.2.77"
CLIENT = (SENDER4, SENDER6, SPAMMER4, SPAMMER6, BANK4)
HOUR_S = 3600


def ask(daemon: DaemonProcess, *words: str) -> Any:
    """What mxallowctl says, as JSON."""
    done = subprocess.run([sys.executable, "-m", "mxallowd.ctl", "--socket", str(daemon.control), *words, "--json"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.alone  # a SYN that comes late, beside a leap of the clocks, would be an attempt
@pytest.mark.parametrize("dry_run", [True, False], ids=["dry-run", "armed"])
def test_a_day_of_refused_hosts(guarded: Lab, client: Host, tmp_path: Path, *, dry_run: bool) -> None:
    """One passes after ten minutes, one after three hours and a restart; one keeps trying."""
    unknown = Attempt.CONNECTED if dry_run else Attempt.DROPPED
    clocks = Clocks(tmp_path / "clocks")
    arguments = ("--state-dir", str(tmp_path / "state"), *(["--dry-run"] if dry_run else []))

    def pass_after(seconds: int, daemon: DaemonProcess, fake: str, real: str, sender: str) -> None:
        clocks.set(seconds, seconds, seconds)
        assert client.attempt(fake, source=sender, timeout=5) is Attempt.REFUSED
        assert client.attempt(real, source=sender, timeout=5) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{sender}\]")
        assert client.attempt(REAL4, source=SPAMMER4) is unknown

    with serving(guarded, *arguments, prefix=clocks.prefix()) as daemon:
        for real, hosts in ((REAL4, (SENDER4, SPAMMER4, BANK4)), (REAL6, (SENDER6, SPAMMER6))):
            for host in hosts:
                assert client.attempt(real, source=host) is unknown
        pass_after(600, daemon, FAKE4, REAL4, SENDER4)
        assert daemon.stop() == 0
    with serving(guarded, *arguments, prefix=clocks.prefix()) as daemon:
        pass_after(3 * HOUR_S, daemon, FAKE6, REAL6, SENDER6)
        clocks.set(4 * HOUR_S, 4 * HOUR_S, 4 * HOUR_S)
        daemon.wait_for(rf"(would-refuse|refused) \[{SPAMMER4}\]")
        found = ask(daemon, "forecast")
        assert (found["dry_run"], found["hosts"], found["sampled"], found["seen"]) == (dry_run, 5, False, None)
        assert [(met["hosts"], met["still_may"]) for met in found["met_the_fake"]] == [(0, 0), (1, 0), (2, 3)]
        assert (found["came_once"], found["kept_trying"], found["refused_later_passed"]) == (2, 1, 2)
        [tried] = found["hosts_that_kept_trying"]
        assert (tried["address"], tried["attempts"]) == (SPAMMER4, 3)
        assert (found["connections"]["refused"], found["connections"]["accepted"]) == (7, 2)
        # The metric counts from the daemon's start, as all counters do.
        assert daemon.counters()["refused-later-passed"] == 1
        assert daemon.stop() == 0


def test_a_sender_that_tries_the_fake_server_alone(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        for _ in range(3):
            for host in (BANK4, SENDER4):
                assert client.attempt(FAKE4, source=host) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\]")
        found = ask(daemon, "first-mx-only")
        assert [(one["address"], one["contacts"]) for one in found["hosts"]] == [(BANK4, 3)]
        assert client.attempt(REAL4, source=BANK4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{BANK4}\]")
        assert ask(daemon, "first-mx-only")["count"] == 0
        assert daemon.stop() == 0
