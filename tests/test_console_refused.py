"""The refused hosts of the console, of a running daemon with real connections."""
import time

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.console.pages.refused import partly
from tests.console_visits import shown
from tests.daemon_process import serving

BUSY, IDLE, FIRST_MX = CLIENT = ("192.0.2.66", "192.0.2.67", "192.0.2.68")


def test_who_is_busy_and_who_tries_the_first_mx_alone(guarded: Lab, client: Host) -> None:
    with serving(guarded) as daemon:
        empty = shown(daemon.control, "/refused")
        assert "Nobody was refused." in empty.text
        assert "No host met the fake server 3 times in a day" in empty.text
        for source, times in ((BUSY, 3), (IDLE, 1)):
            for _ in range(times):
                assert client.attempt(REAL4, source=source, timeout=0.1) is Attempt.DROPPED
        for _ in range(3):
            assert client.attempt(FAKE4, source=FIRST_MX) is Attempt.REFUSED
        daemon.wait_for("refused ", times=2)
        # The busiest are looked for once a second, for all who ask.
        deadline = time.monotonic() + 5
        while "Nobody was refused." in (page := shown(daemon.control, "/refused")).text:
            assert time.monotonic() < deadline
        assert f"Address Attempts {BUSY} 3 {IDLE} 1" in page.text, page.text
        assert "192.0.2.0/24 4" in page.text
        assert f"Contacts First Last {FIRST_MX}" in page.text
        assert "1 host met the fake server" in page.text
        assert "with the option no-rdns-whitelist there are none" in page.text
        assert {one["href"] for one in page.of("a", **{"class": "code"})} >= {
            f"/search?q={BUSY}", "/search?q=192.0.2.0/24", f"/search?q={FIRST_MX}"}


def test_how_exact_the_numbers_are() -> None:
    """How exact the numbers are, where the firewall shows a part."""
    assert partly(None) is partly({"packets": 5, "of": 5, "share": 1.0}) is None
    assert "at most 100 refused packets a second" in str(partly({"packets": 5, "of": None, "share": None}))
    assert "was shown 5 of 9 refused packets" in str(partly({"packets": 5, "of": 9, "share": 0.5556}))
