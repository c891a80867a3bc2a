"""--proven-time in the kernel's ways: renewed by connections that the kernel lets through alone, kept by a reboot."""
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.mirrors.kernel.ipset import LONGEST_TIME_S
from tests.control_client import ask
from tests.daemon_process import SENDER4, DaemonProcess
from tests.ways import Way, in_set, start

MONTH_S = 36 * 86_400
SHORT_S, STEP_S = 16, 2  # of --proven-time, and an eighth of it: when a connection restarts the time


def left_s(lab: Lab, way: Way, at_least_s: float) -> float:
    """Seconds left to the host in the kernel's set, once they are so many."""
    deadline = time.monotonic() + 5
    while (left := in_set(lab, way, "mx_white4", SENDER4)) is None or left < at_least_s:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    return left


def entry_s(daemon: DaemonProcess) -> int:
    """Seconds left to the host in the daemon."""
    status, found = ask(daemon.control, "GET", f"/v1/entries/{SENDER4}")
    assert (status, found["proven"]) == (200, True)
    return int(found["seconds_left"])


@pytest.mark.parametrize(("way", "reboot"), [("set", True), ("queue-set-ipset", False)], indirect=["way"])
def test_it_is_renewed_and_kept_in_the_kernel(
        served: Lab, client: Host, way: Way, reboot: bool, tmp_path: Path) -> None:
    served.load_ruleset(*way.rulesets)
    state = ("--state-dir", str(tmp_path / "state"), "-t", "8")
    with start(served, way, *state, "--proven-time", str(SHORT_S)) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4, timeout=5) is Attempt.CONNECTED
        assert left_s(served, way, 9) <= SHORT_S
        while left_s(served, way, 1) >= SHORT_S - STEP_S:
            time.sleep(0.1)
        time.sleep(0.1)
        seen = way.seen(daemon)
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert left_s(served, way, SHORT_S - 1) <= SHORT_S
        # Only the kernel saw that connection; connection tracking told of it.
        assert way.seen(daemon) == seen
        assert daemon.stop() == 0
    longest_s = MONTH_S if way.sets == "nft" else LONGEST_TIME_S
    for again in range(2):
        if again and reboot:
            # The sets are empty then, and the state is there.
            flush = ["nft", "flush", "set", "inet", "mxallowd"] if way.sets == "nft" else ["ipset", "flush"]
            for name in ("mx_white4", "mx_fresh4"):
                served.gateway.run([*flush, name], check=True)
            assert way.members(served, "mx_white4") == {}
        with start(served, way, *state, "--proven-time", str(MONTH_S)) as daemon:
            if again:
                assert MONTH_S - 60 < entry_s(daemon) <= MONTH_S
                assert client.attempt(REAL4, timeout=5) is Attempt.CONNECTED
            else:
                # At the start it has what was left to it.
                assert entry_s(daemon) <= SHORT_S
                assert client.attempt(REAL4) is Attempt.CONNECTED
            assert left_s(served, way, longest_s - 60) <= longest_s
            assert daemon.stop() == 0
