"""The capture back end on real interfaces: what it takes, what it loses and says so, and who comes and goes."""
import subprocess
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab, ip
from lab.programs import Sources, flood
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess
from tests.links import LINKS, pcap
from tests.strategies import HOSTS, packed, syn


def daemon(lab: Lab, *arguments: str) -> DaemonProcess:
    """The daemon without lookups."""
    process = DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", *arguments])
    process.wait_for("start ")
    return process


@pytest.mark.parametrize("interface", ["br0", "any"])
def test_an_interface(lab: Lab, client: Host, interface: str) -> None:
    """Ethernet, and Linux cooked: connection attempts alone, each once a packet; answers and data are none."""
    with lab.gateway.serve(REAL4), daemon(lab, "-p", interface) as process:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        process.wait_for(r"whitelisted \[192.0.2.101\]")
        assert client.attempt(REAL4) is Attempt.CONNECTED
        process.wait_for(r"accepted \[192.0.2.101\]")
        counters = process.counters()
        assert counters["fake-new"] == counters["real-first"] == 1
        assert counters["other"] == counters["real-refused"] == counters["broken"] == 0
        assert process.stop() == 0


def test_libpcaps_own_filters_serve_where_it_has_them(lab: Lab, client: Host) -> None:
    with daemon(lab, "-p", "br0", "-l", f"tcp port 25 and not host {SENDER4}") as process:
        other = lab.client("other", "192.0.2.102")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert other.attempt(FAKE4) is Attempt.REFUSED
        process.wait_for(r"whitelisted \[192.0.2.102\]")
        assert process.counters()["fake-new"] == 1


@pytest.mark.parametrize(("arguments", "reason"), [
    (["-p", "nosuch0"], 'cannot capture from "nosuch0": nosuch0: No such device'),
    (["-p", "br0", "-l", "port 25 and frobnicate"], 'pcap-filter: "port 25 and frobnicate" is refused by libpcap: '),
    (["-p", "nflog:5", "-l", "vlan 3"], 'pcap-filter: "vlan 3" has "vlan"'),
    (["-p", "file:/nonexistent"], '"/nonexistent" is not there'),
    (["-p", "file:/dev/null"], "/dev/null"),
])
def test_what_cannot_be_captured_is_said_in_one_line(lab: Lab, arguments: list[str], reason: str) -> None:
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", *arguments]) as process:
        assert process.process.wait(10) == 1
        assert process.process.stderr
        said = process.process.stderr.read()
        assert reason in said
        assert said.count("\n") == 1


def test_a_group_of_nflog_has_one_reader(lab: Lab) -> None:
    with daemon(lab, "-p", "nflog:5"), DaemonProcess(
            lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5"]) as second:
        assert second.process.wait(10) == 1
        assert second.process.stderr
        assert 'cannot capture from "nflog:5": ' in (said := second.process.stderr.read())
        assert "link type" not in said


def test_what_the_kernel_could_not_hand_over_is_said(lab: Lab, client: Host) -> None:
    """The daemon is stopped while more is logged than its receive buffer holds."""
    lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "NFLOG", "--nflog-group", "5", "--nflog-threshold", "1",
                   programs=["iptables"])
    lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "DROP", programs=["iptables"])
    with daemon(lab, "-p", "nflog:5") as process:
        subprocess.run(["kill", "-STOP", str(process.process.pid)], check=True)
        # Not faster than the way to the gateway takes them: what is lost there nobody counts.
        client.run(flood(REAL4, Sources("10.0.0.0", 80_000), rate=30_000), check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["kill", "-CONT", str(process.process.pid)], check=True)
        process.wait_for("lost-packets ", timeout=10)
        # What waits is read in steps.
        deadline = time.monotonic() + 10
        while sum((counters := process.counters())[name] for name in ("received", "lost-by-kernel")) < 80_000:
            assert time.monotonic() < deadline, counters
            time.sleep(0.2)
        assert counters["lost-by-kernel"] > 1000
        assert counters["received"] + counters["lost-by-kernel"] == 80_000
        # It reads on as before. (A line about it may be one too many for the log in this second.)
        assert client.attempt(FAKE4) is Attempt.DROPPED
        deadline = time.monotonic() + 10
        while process.counters()["fake-new"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.stop() == 0


def test_an_interface_that_goes_down_comes_back(lab: Lab, client: Host) -> None:
    with daemon(lab, "-p", "br0") as process:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        process.wait_for(r"whitelisted \[192.0.2.101\]")
        ip(f"-n {lab.gateway.name} link set br0 down")
        time.sleep(1.5)
        ip(f"-n {lab.gateway.name} link set br0 up")
        other = lab.client("other", "192.0.2.102")
        deadline = time.monotonic() + 10
        while other.attempt(FAKE4) is not Attempt.REFUSED:
            assert time.monotonic() < deadline
        process.wait_for(r"whitelisted \[192.0.2.102\]", timeout=5)
        assert process.stop() == 0


@pytest.mark.timeout(60)
def test_an_interface_that_is_gone_ends_the_daemon(lab: Lab) -> None:
    gateway = lab.gateway.name
    ip(f"-n {gateway} link add gone0 type veth peer name gone1", f"-n {gateway} link set gone0 up")
    with daemon(lab, "-p", "gone0") as process:
        ip(f"-n {gateway} link del gone0")
        assert process.process.wait(30) == 1
        assert process.wait_for("capture-failed ").startswith('capture-failed reason="gone0: ')


def test_a_rehearsal_keeps_the_captures_time_and_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    """More events than the ring holds, and entries that expire by the capture's clock within one second of ours."""
    link_type, wrap = LINKS["ethernet"]
    hosts = [packed(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}") for number in range(20_000)]
    packets = [syn(host, packed(FAKE4)) for host in hosts]
    packets += [syn(hosts[0], packed(REAL4)), syn(hosts[-1], packed(REAL4))]
    times = [(1_700_000_000 + number // 10, 0) for number in range(len(packets))]
    capture = pcap(tmp_path / "day.pcap", link_type, [wrap(packet) for packet in packets], times=times)
    with daemon(lab, "-p", f"file:{capture}", "-t", "600") as process:
        assert process.process.wait(20) == 0
        counters = dict(pair.split("=") for pair in process.wait_for("counters ").split()[1:])
    assert counters["lost-events"] == counters["broken"] == "0"
    assert (counters["fake-new"], counters["real-refused"], counters["real-first"]) == ("20000", "1", "1")
    # 600 seconds of ten hosts each are left, the one that came last was used.
    assert int(counters["entries"]) in range(5990, 6012)
    assert int(counters["direct-to-fake"]) == 20_000 - int(counters["entries"])
    assert process.messages()[-1] == "stop signal=none received=20002"


def test_a_damaged_capture_is_read_up_to_the_damage(lab: Lab, tmp_path: Path) -> None:
    link_type, wrap = LINKS["raw"]
    capture = pcap(tmp_path / "cut.pcap", link_type, [wrap(syn(host, packed(FAKE4))) for host in HOSTS[:6]])
    capture.write_bytes(capture.read_bytes()[:-10])
    with daemon(lab, "-p", f"file:{capture}") as process:
        assert process.process.wait(10) == 1
        assert sum(line.startswith("whitelisted ") for line in process.messages()) == 5
        assert "is damaged" in process.wait_for("capture-failed ")
