"""No request holds the main loop for 5 ms, on a daemon with 20,000 entries and 100,000 networks."""
import pytest

from benchmarks.holds import filled, requests
from mxallowd.control.routes import find, split
from tests.test_control_api import routes

LONGEST_MS = 5.0
TRIES = 4


def test_the_benchmark_asks_for_everything() -> None:
    served = routes()
    asked = {find(served, one.method, split(one.target)[0])[0][:2] for one in requests()}
    assert {route[:2] for route in served} - asked <= {("DELETE", "/v1/entries")}


@pytest.mark.alone
@pytest.mark.usefixtures("namespaces")
def test_no_request_holds_the_loop() -> None:
    """By the time of the processor: what else the machine does is no fault of ours."""
    with filled(entries=20_000, networks=100_000, by_hand=1_000) as daemon:
        for asked in requests():
            # A busy machine makes a processor slower, too.
            tries = [daemon.hold(asked).processor_ms]
            while min(tries) >= LONGEST_MS and len(tries) < TRIES:
                tries.append(daemon.hold(asked).processor_ms)
            assert min(tries) < LONGEST_MS, (asked.name, tries)
