"""Patience in every way that has sets: who was refused often enough stands in the kernel's set before his next SYN."""
import time

import pytest

from lab.hosts import REAL4, REAL6, Attempt, Host, Lab
from tests.daemon_process import SENDER4
from tests.test_list_ways import held, wait_until
from tests.ways import Way, start, ways_with_set_or_door


@pytest.fixture
def guarded(served: Lab, way: Way) -> Lab:
    """The gateway with a mail server on its real addresses, behind the way's rulesets."""
    served.load_ruleset(*way.rulesets)
    return served


@ways_with_set_or_door
def test_the_kernel_lets_in_who_was_refused_often(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way, "--patience", "2/2") as daemon:
        for real in (REAL4, REAL6):
            assert client.attempt(real) is Attempt.DROPPED
        assert SENDER4 not in held(guarded, way, "mx_white4")
        time.sleep(1.6)
        for real in (REAL4, REAL6):
            # Refused once more; what is sent again a second later is let in.
            assert client.attempt(real, timeout=4.5) is Attempt.CONNECTED
        wait_until(guarded, way, "mx_white4", SENDER4)
        counters = daemon.counters()
        assert (counters["patience-let-in"], counters["fake-new"]) == (2, 0)
        assert daemon.stop() == 0
