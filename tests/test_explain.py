"""mxallowctl explain, of the running daemon."""
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from tests.daemon_process import SENDER4, serving

SPAMMER4 = "192.0.2.66"


def ctl(host: Host, socket: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = host.run(
        [sys.executable, "-m", "mxallowd.ctl", "--socket", str(socket), *words], capture_output=True, text=True)
    return done


@pytest.mark.usefixtures("namespaces")
def test_explain_of_the_running_daemon() -> None:
    with tempfile.TemporaryDirectory() as directory, Lab("expl") as lab:
        socket, deny = Path(directory) / "control.sock", Path(directory) / "deny"
        deny.write_text("# who\n198.51.100.0/24 # a known nuisance\n", encoding="utf-8")
        sender, spammer = lab.client("sender", SENDER4, "2001:db8::101"), lab.client("spam", SPAMMER4, "2001:db8::66")
        lab.load_ruleset("queue.sh")
        arguments = ("--control", str(socket), "--state-dir", f"{directory}/state")
        with serving(lab, *arguments, "--deny", str(deny)) as daemon:
            assert sender.attempt(FAKE4) is Attempt.REFUSED
            assert spammer.attempt(REAL4) is Attempt.DROPPED
            daemon.wait_for("refused ")
            good = ctl(lab.gateway, socket, "--json", "explain", SENDER4)
            assert good.returncode == 0, good
            found: Any = json.loads(good.stdout)
            assert (found["gets_in"], found["why"], found["way"]) == (True, "it contacted the fake server", "a")
            assert [(one["role"], one["verdict"], one["outcome"]) for one in found["next"]] == [
                ("fake", "accept", "fake-known"), ("real", "accept", "real-first")]
            assert [one["what"] for one in found["last"]] == ["contact"]
            bad = ctl(lab.gateway, socket, "explain", SPAMMER4)
            assert bad.returncode == 1
            for part in (f"{SPAMMER4}: is refused", "refused once, at", f"next to real {REAL4}: drop",
                         f"to let it in: mxallowctl add {SPAMMER4}", "may exempt hosts before mxallowd is asked"):
                assert part in bad.stdout
            # Asking has changed nothing.
            assert daemon.counters()["entries"] == 1
            denied = ctl(lab.gateway, socket, "explain", "198.51.100.7")
            assert denied.returncode == 1
            assert f"deny 198.51.100.0/24, {deny}:2" in denied.stdout
            assert "a known nuisance" in denied.stdout
            network = json.loads(ctl(lab.gateway, socket, "--json", "explain", "192.0.2.0/24").stdout)
            assert (network["entries"], network["refused"], network["origins"]) == (1, 1, {"contact": 1})
            name = ctl(lab.gateway, socket, "explain", "mail.example.org")
            assert (name.returncode, "no-rdns-whitelist" in name.stdout) == (1, True)
            assert ctl(lab.gateway, socket, "explain", "no host").returncode == 2
            since = found["entry"]["since"]
            assert abs(time.time() - datetime.fromisoformat(since).timestamp()) < 10
            assert daemon.stop() == 0
        # What was remembered of connections is gone; the state knows that there was a contact, not when.
        with serving(lab, *arguments):
            found = json.loads(ctl(lab.gateway, socket, "--json", "explain", SENDER4).stdout)
            assert (found["gets_in"], found["entry"]["origin"], found["entry"]["since"]) == (True, "contact", None)
            assert "whitelisted (since when is not known) until" in ctl(
                lab.gateway, socket, "explain", SENDER4).stdout
