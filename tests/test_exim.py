"""Good mail of a real sender, exim4 with Debian's retry rules, that has a message each hour for five days."""
import time
from pathlib import Path

import pytest

from lab.exim import supported
from lab.hosts import Host, Lab
from tests.daemon_process import SENDER4, SERVERS
from tests.hourly_mail import HourlyMail
from tests.kernel_time import LISTED, PASS, TABLE
from tests.ways import WAYS, Way

MESSAGES = 120
# Five days in one way with a queue and one without. The others differ by their sets alone, and an entry that ends too
# soon shows within a day (below).
messages_by_way = {name: MESSAGES if name in ("queue", "set") else 48 for name in WAYS}


def hourly_mail(lab: Lab, directory: Path, way: Way, *arguments: str) -> HourlyMail:
    """The gateway as the way has it."""
    # A failure and no skip: scripts/prepare unpacks it.
    assert supported() is None, supported()
    return HourlyMail(lab, directory, way.rulesets, ["-c", "/dev/null", *SERVERS, *way.arguments, *arguments], way.sets)


# Ten seconds alone; beside other tests exim, the name server and the receiver wait for a processor.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "messages"), messages_by_way.items(), ids=WAYS)
def test_hourly_mail_of_exim_is_never_late(lab: Lab, tmp_path: Path, name: str, messages: int) -> None:
    with hourly_mail(lab, tmp_path, WAYS[name]) as mail:
        course = mail.run(messages, until_late=True)
        assert (course.sent, course.late, course.missing) == (messages, [0, 0], [0, 0]), mail.exim.log()
        # Exim passed the fake server over most of the time, so it came to the real one for hours without a contact.
        assert mail.exim.log().count("Connection refused") < messages
        assert mail.daemon.stop() == 0
        assert not [line for line in mail.daemon.messages() if line.startswith(("defect", "kernel-table-broken"))]


@pytest.mark.parametrize("way", [WAYS["queue"], WAYS["set"]], ids=["queue", "set"])
def test_an_entry_of_an_hour_makes_its_mail_late(lab: Lab, tmp_path: Path, way: Way) -> None:
    """As in mxallowd 1.9. It also shows that a course can fail."""
    with hourly_mail(lab, tmp_path, way, "-t", "3600", "--renew", "never") as mail:
        course = mail.run(MESSAGES, until_late=True)
        assert any(course.late)
        assert course.sent < 24
        assert mail.daemon.stop() == 0


@pytest.mark.parametrize("way", [WAYS["set"], WAYS["set-ipset"]], ids=["nft", "ipset"])
def test_time_that_passes_ends_elements(lab: Lab, client: Host, way: Way) -> None:
    """The harness: an element loses what passes, one whose time is over goes, and one without a time stays."""
    host = lab.gateway
    lab.load_ruleset(*way.rulesets)
    at = f"element {' '.join(TABLE)} mx_white4"
    lines = {
        "nft": [f"add {at} {{ {SENDER4} timeout 8h, 192.0.2.1 timeout 1h, 192.0.2.2 }}"],
        "ipset": [f"add mx_white4 {SENDER4} timeout 28800", "add mx_white4 192.0.2.1 timeout 3600",
                  "add mx_white4 192.0.2.2 timeout 0"],
    }[way.sets]
    program = ["nft", "-f", "-"] if way.sets == "nft" else ["ipset", "restore"]
    host.run(program, input="\n".join(lines) + "\n", text=True, check=True)
    started = time.monotonic()
    for passed_s, rest in ((1800, {SENDER4: 27000, "192.0.2.1": 1800}), (3600, {SENDER4: 25200}), (28800, {})):
        PASS[way.sets](host, 1800 if passed_s < 28800 else 28800)
        left = {element.address: element.left_s for element in LISTED[way.sets](host)}
        assert left.keys() == rest.keys()
        late_s = time.monotonic() - started + 4
        assert all(rest[address] - late_s <= left[address] <= rest[address] for address in rest)
    assert way.members(lab, "mx_white4") == {"192.0.2.2": 0}
