"""The table of counters is complete and true, and the picture is made from it."""
import re
from collections import Counter as Tally
from pathlib import Path

import pytest

from lab.hosts import Lab
from mxallowd._fastpath import OUTCOME_NAMES, Fastpath
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.fleet.keys import new_key
from mxallowd.metrics.counters import COUNTERS, Kind, Part, collect, names
from tests.daemon_process import SERVERS, DaemonProcess
from tests.strategies import FAKE, REAL

# Nobody waits for an engine that is not there.
HURRIED = """
import sys
from mxallowd.fleet import member
member.LOADING_S = 0.1
from mxallowd import cli
sys.exit(cli.main(sys.argv[1:]))
"""
ALL = [counter.name for counter in COUNTERS]


def test_each_counter_has_one_name_and_a_meaning() -> None:
    assert len(set(ALL)) == len(ALL)
    for counter in COUNTERS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", counter.name)
        assert counter.help
        assert "|" not in counter.help
    assert [counter.name for counter in COUNTERS if counter.kind is Kind.GAUGE] == [
        "entries", "refused-hosts", "patience-waiting", "trust-networks", "trust-hosts", "trust-faults",
        "fleet-waiting", "fleet-gateways"]


def test_a_family_is_told_apart_by_one_label() -> None:
    families = {counter.family for counter in COUNTERS if counter.family}
    assert families == {"packets", "verdicts", "kernel-packets"}
    for family in families:
        of = [counter for counter in COUNTERS if counter.family == family]
        assert len({(counter.kind, counter.part, counter.label[0]) for counter in of}) == 1
        assert set(Tally(counter.label[1] for counter in of).values()) == {1}
        assert all(counter.label[1] for counter in of)
    assert not [counter for counter in COUNTERS if counter.label[0] and not counter.family]


def test_the_compiled_parts_count_under_the_names_of_the_table() -> None:
    table = Table(16, 1)
    path = Fastpath(table, Ring(16, -1), Rules(FAKE, REAL, 3600))
    assert tuple(path.counters()) == OUTCOME_NAMES == names(Part.DECISION)
    assert set(table.counters()) == set(names(Part.WHITELIST))


def test_the_picture_has_the_order_of_the_table() -> None:
    assert list(collect([{name: 1} for name in reversed(ALL)])) == ALL
    assert list(collect([{"stress": 0, "real-refused": 2}])) == ["blocked", "would-refuse", "real-refused", "stress"]


def test_equal_names_are_added_up() -> None:
    picture = collect([{"received": 3, "broken": 1}, {"received": 4}])
    assert (picture["received"], picture["broken"]) == (7, 1)


@pytest.mark.parametrize(("seen", "by_rule", "blocked"), [(5, None, 5), (5, 3, 5), (5, 300, 300), (None, None, 0)])
def test_blocked_is_what_the_kernel_counted_where_it_refuses(
        seen: int | None, by_rule: int | None, blocked: int) -> None:
    counted = {"real-refused": seen, "kernel-refused": by_rule}
    assert collect([{name: value for name, value in counted.items() if value is not None}])["blocked"] == blocked


def test_a_dry_run_has_blocked_nothing() -> None:
    counted = {"real-refused": 5, "kernel-refused": 7}
    assert collect([counted], dry_run=True) == counted | {"blocked": 0, "would-refuse": 7}
    assert collect([counted]) == counted | {"blocked": 7, "would-refuse": 0}


def test_a_counter_that_the_table_lacks_is_shown_behind_all() -> None:
    assert list(collect([{"unheard-of": 1}, dict.fromkeys(ALL, 0)])) == [*ALL, "unheard-of"]


def test_a_daemon_with_all_parts_shows_just_the_table(lab: Lab, tmp_path: Path) -> None:
    """A counter that the table has and nobody counts, or the other way round, fails here."""
    lab.queue_rule("23")
    trust, key = tmp_path / "trust", tmp_path / "key"
    trust.write_text("network 192.0.2.0/24\n", encoding="ascii")
    key.write_text(f"{new_key()}\n", encoding="ascii")
    key.chmod(0o600)
    arguments = ["--trust", str(trust), "-n", "23", "-p", "nflog:5", "--nft-table", "inet mxallowd", "--nft-setup",
                 "--learn-outbound", "nflog:6", "--fleet", "redis://127.0.0.1:1", "--fleet-site", "example",
                 "--fleet-key-file", str(key)]
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, *arguments], script=HURRIED) as daemon:
        daemon.wait_for("start ")
        assert list(daemon.counters()) == ALL
        assert daemon.stop() == 0


def test_a_part_that_does_not_run_shows_nothing(lab: Lab) -> None:
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-b"]) as daemon:
        daemon.wait_for("start ")
        parts = (Part.RDNS, Part.DIRECT, Part.KERNEL_TABLE, Part.KERNEL_LISTS, Part.TRUST, Part.OUTBOUND,
                 Part.FLEET)
        absent = {name for part in parts for name in names(part)}
        assert list(daemon.counters()) == [name for name in ALL if name not in absent]
        assert daemon.stop() == 0
