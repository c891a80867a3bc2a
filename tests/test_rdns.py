"""Reverse DNS end to end: real queue, real connects, a name server process, truthful and lying."""
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.dns.hostnames import reverse_name
from tests.daemon_process import SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.strategies import packed
from tests.test_resolver import asked

FIRST4, SECOND4, THIRD4 = "192.0.2.101", "192.0.2.102", "192.0.2.103"
FIRST6 = "2001:db8::101"
CLIENT = (FIRST4, SECOND4, THIRD4, FIRST6)
NAME = "mail.example.org"
ARGUMENTS = [*SERVERS, "-n", "23", "--dns-server", "127.0.0.1:5353"]


def ptr(address: str, name: str = NAME) -> str:
    return f"{reverse_name(packed(address))} PTR {name}."


POOL = [ptr(FIRST4), ptr(SECOND4), ptr(THIRD4), ptr(FIRST6),
        f"{NAME} A {FIRST4}", f"{NAME} A {SECOND4}", f"{NAME} AAAA {FIRST6}"]


def test_a_sender_gets_in_from_each_of_its_addresses(guarded: Lab, client: Host) -> None:
    with NameServerProcess(guarded.gateway, POOL) as names, DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        assert daemon.wait_for(r"child \[192.0.2.102\]") == \
            f"child [192.0.2.102] name={NAME} of=192.0.2.101 seconds=28800"
        daemon.wait_for(r"child \[2001:db8::101\]")
        assert client.attempt(REAL4, source=SECOND4) is Attempt.CONNECTED
        assert client.attempt(REAL6, source=FIRST6) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=FIRST4) is Attempt.CONNECTED
        counters = daemon.counters()
        assert {name: counters[name] for name in ("looked-up", "confirmed", "unconfirmed", "children", "entries")} == {
            "looked-up": 1, "confirmed": 1, "unconfirmed": 0, "children": 2, "entries": 3}
        # Children are not asked about: PTR, A and AAAA of the contact alone.
        assert len(asked(names, 3)) == 3
        assert daemon.stop() == 0


def test_a_pool_whose_record_shows_only_part_of_it(guarded: Lab, client: Host) -> None:
    """The third address is not in the forward record of the pool's name, but has a name of its own in it."""
    records = [*POOL[:2], *POOL[3:], ptr(THIRD4, "out3.example.org"), f"out3.example.org A {THIRD4}",
               ptr(THIRD4), f"{NAME} A {THIRD4}"]
    with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        # B comes first, is refused, looked up and stays out: its name is not whitelisted yet.
        assert client.attempt(REAL4, source=THIRD4) is Attempt.DROPPED
        time.sleep(0.3)
        assert client.attempt(REAL4, source=THIRD4) is Attempt.DROPPED
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.103\]")
        # A SYN that is sent again after a second.
        assert client.attempt(REAL4, source=THIRD4, timeout=3) is Attempt.CONNECTED


def test_a_new_address_of_a_listed_name_gets_in(guarded: Lab, client: Host) -> None:
    rotating = [ptr(FIRST4), ptr(THIRD4), f"{NAME} A {FIRST4}"]
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        with NameServerProcess(guarded.gateway, rotating):
            assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
            deadline = time.monotonic() + 5
            while daemon.counters()["confirmed"] < 1 and time.monotonic() < deadline:
                time.sleep(0.05)
        # The name shows another of its addresses now; the old answers lie in the cache until SIGHUP.
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded ")
        with NameServerProcess(guarded.gateway, [ptr(THIRD4), f"{NAME} A {THIRD4}"]):
            assert client.attempt(REAL4, source=THIRD4, timeout=3.5) is Attempt.CONNECTED
            assert daemon.wait_for(r"child \[192.0.2.103\]").startswith(f"child [192.0.2.103] name={NAME} seconds=2")


def test_a_liar_gets_nobody_in(guarded: Lab, client: Host) -> None:
    """The PTR of a spammer points at a name whose addresses are not the spammer's."""
    records = [ptr(FIRST4, "mail.victim.example"), f"mail.victim.example A {SECOND4}"]
    with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        assert daemon.wait_for("unconfirmed ") == "unconfirmed [192.0.2.101] name=mail.victim.example addresses=1"
        assert client.attempt(REAL4, source=SECOND4) is Attempt.DROPPED
        # The contact itself stays whitelisted.
        assert client.attempt(REAL4, source=FIRST4) is Attempt.CONNECTED


def test_the_old_behaviour_for_those_who_want_it(guarded: Lab, client: Host) -> None:
    records = [ptr(FIRST4, "mail.victim.example"), f"mail.victim.example A {SECOND4}"]
    arguments = [*ARGUMENTS, "--rdns-unconfirmed"]
    with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.102\]")
        assert client.attempt(REAL4, source=SECOND4) is Attempt.CONNECTED


@pytest.mark.parametrize("flag", ["-b", "-d"])
def test_switched_off_no_query_leaves_the_host(guarded: Lab, client: Host, flag: str) -> None:
    with NameServerProcess(guarded.gateway, POOL) as names, \
            DaemonProcess(guarded.gateway, [*ARGUMENTS, flag]) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SECOND4) is Attempt.DROPPED
        time.sleep(0.5)
        assert names.questions == []
        assert daemon.stop() == 0


def test_a_bad_name_is_logged_as_one_printable_line(guarded: Lab, client: Host) -> None:
    records = [ptr(FIRST4, "a+b.example.org"), ptr(FIRST4)]
    with NameServerProcess(guarded.gateway, [*records, *POOL[4:]]), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        assert daemon.wait_for("bad-name ").startswith("bad-name [192.0.2.101] name=a+b.example.org")
        daemon.wait_for(r"child \[192.0.2.102\]")


@pytest.mark.parametrize("fault", ["silent", "slow", "servfail", "wrong-id", "odd", "empty"])
def test_a_bad_name_server_is_in_nobodys_way(guarded: Lab, client: Host, fault: str) -> None:
    """Verdicts go on while it misbehaves; when it comes back, so do lookups."""
    reverse = reverse_name(packed(FIRST4))
    with DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        with NameServerProcess(guarded.gateway, [f"{reverse} FAULT {fault}"]):
            started = time.monotonic()
            assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
            assert client.attempt(REAL4, source=FIRST4) is Attempt.CONNECTED
            assert time.monotonic() - started < 1
            deadline = time.monotonic() + 8
            while time.monotonic() < deadline:
                counters = daemon.counters()
                if counters["timed-out"] + counters["lookup-failed"]:
                    break
                time.sleep(0.1)
            assert counters["timed-out"] + counters["lookup-failed"] == 1
            assert counters["children"] == 0
        with NameServerProcess(guarded.gateway, [ptr(SECOND4), f"{NAME} A {SECOND4}", f"{NAME} A {THIRD4}"]):
            back = time.monotonic()
            assert client.attempt(FAKE4, source=SECOND4) is Attempt.REFUSED
            daemon.wait_for(r"child \[192.0.2.103\]", timeout=10)
            assert time.monotonic() - back < 10
        assert daemon.stop() == 0


def test_truncated_answers_are_asked_for_over_tcp(guarded: Lab, client: Host) -> None:
    records = [*POOL, f"{reverse_name(packed(FIRST4))} FAULT truncated", f"{NAME} FAULT truncated"]
    with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.102\]")


def test_cname_chains_and_loops(guarded: Lab, client: Host) -> None:
    """RFC 2317 delegates a reverse name by CNAME; a loop of them ends in nothing."""
    reverse, other = reverse_name(packed(FIRST4)), reverse_name(packed(THIRD4))
    records = [f"{reverse} CNAME 101.64-27.2.0.192.in-addr.arpa", f"101.64-27.2.0.192.in-addr.arpa PTR {NAME}.",
               f"{NAME} CNAME pool.example.org", f"pool.example.org A {FIRST4}", f"pool.example.org A {SECOND4}",
               f"{other} CNAME loop.example.org", "loop.example.org CNAME again.example.org",
               "again.example.org CNAME loop.example.org"]
    with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4, source=THIRD4) is Attempt.REFUSED
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.102\]")
        assert daemon.counters()["children"] == 1


def test_a_name_with_very_many_addresses(guarded: Lab, client: Host) -> None:
    """At most 32 of them come in. 4,000 A records fit into a message over TCP, 10,000 do not."""
    for count, children in ((4000, 32), (10_000, 0)):
        records = [ptr(FIRST4), f"{NAME} A {FIRST4}", f"{NAME} A *{count}"]
        with NameServerProcess(guarded.gateway, records), DaemonProcess(guarded.gateway, ARGUMENTS) as daemon:
            daemon.wait_for("start ")
            assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
            deadline = time.monotonic() + 10
            counters = daemon.counters()
            while not (counters["confirmed"] + counters["lookup-failed"] + counters["timed-out"]) \
                    and time.monotonic() < deadline:
                time.sleep(0.1)
                counters = daemon.counters()
            assert children - 1 <= counters["children"] <= children
            assert client.attempt(REAL4, source=FIRST4) is Attempt.CONNECTED
            assert daemon.stop() == 0


def test_ipv6_all_the_way(guarded: Lab, client: Host) -> None:
    with NameServerProcess(guarded.gateway, POOL, address="::1"), \
            DaemonProcess(guarded.gateway, [*SERVERS, "-n", "23", "--dns-server", "[::1]:5353"]) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE6, source=FIRST6) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.101\]")
        assert client.attempt(REAL4, source=FIRST4) is Attempt.CONNECTED


def test_another_resolv_conf_is_read_while_it_runs(guarded: Lab, client: Host) -> None:
    """`ip netns exec` shows a namespace the files of /etc/netns as those of /etc."""
    place = Path("/etc/netns") / guarded.gateway.name
    made = not place.parent.exists()
    place.mkdir(parents=True)
    conf = place / "resolv.conf"
    try:
        conf.write_text("nameserver 127.0.0.2\n", encoding="ascii")
        with NameServerProcess(guarded.gateway, POOL, port=53, address="127.0.0.3"), \
                DaemonProcess(guarded.gateway, [*SERVERS, "-n", "23"]) as daemon:
            daemon.wait_for("start ")
            assert client.attempt(FAKE4, source=THIRD4) is Attempt.REFUSED
            # In place: a file put in its stead would not be the one that is mounted.
            conf.write_text("nameserver 127.0.0.3\n", encoding="ascii")
            time.sleep(1.5)
            assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
            daemon.wait_for(r"child \[192.0.2.102\]")
            assert daemon.stop() == 0
    finally:
        shutil.rmtree(place)
        if made:
            place.parent.rmdir()


def test_other_name_servers_after_a_sighup(guarded: Lab, client: Host, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    lines = "".join(f"{name} {value}\n" for name, value in zip(
        ("fake-mailserver", "fake-mailserver", "real-mailserver", "real-mailserver"), SERVERS[1::2], strict=True))
    conf.write_text(f"{lines}queue-num 23\ndns-server 127.0.0.1:5353\n", encoding="ascii")
    with NameServerProcess(guarded.gateway, POOL, port=5354), \
            DaemonProcess(guarded.gateway, ["-c", str(conf)]) as daemon:
        daemon.wait_for("start ")
        conf.write_text(f"{lines}queue-num 23\ndns-server 127.0.0.1:5354\n", encoding="ascii")
        daemon.send(signal.SIGHUP)
        assert daemon.wait_for("reloaded ") == "reloaded changed=dns-server"
        assert client.attempt(FAKE4, source=FIRST4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.102\]")


def test_no_daemon_process_stays(guarded: Lab) -> None:
    assert subprocess.run(["ip", "netns", "pids", guarded.gateway.name], capture_output=True).stdout == b""
