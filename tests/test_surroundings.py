"""What defeats nolisting in silence is said at the start and by --check, on a real host; what cannot be told is not."""
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, Attempt, Host, Lab
from mxallowd import surroundings
from mxallowd.daemon.absence import AFTER_S, AGAIN_S, BYPASSED_HOSTS, Absence, Bypass
from tests.daemon_process import SERVERS, DaemonProcess
from tests.log_lines import log_to
from tests.part import alone

RULE = ("-p", "tcp", "--dport", "25", "--syn", "-j", "NFQUEUE", "--queue-num", "23", "--queue-bypass")
LISTEN = "import socket, sys, time\n" \
         "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n" \
         "s.setsockopt(41, 26, 0) if ':' in sys.argv[1] else None\n" \
         "s.bind((sys.argv[1], 25)); s.listen(); print('ready', flush=True); time.sleep(60)"


def check(host: Host, *arguments: str) -> list[str]:
    """What --check warns of, status 0."""
    done = host.run([sys.executable, "-m", "mxallowd", "--check", "-c", "/dev/null", *arguments], capture_output=True,
                    text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.removeprefix("system: warning: ") for line in done.stdout.splitlines()]


def test_a_gateway_in_order_has_no_warning(lab: Lab) -> None:
    lab.input_rule(*RULE)
    with lab.gateway.serve(REAL4):
        assert check(lab.gateway, *SERVERS, "-n", "23") == []


@pytest.mark.parametrize(("place", "hit"), [
    ("0.0.0.0", {FAKE4}), (FAKE4, {FAKE4}), (FAKE6, {FAKE6}), ("::", {FAKE4, FAKE6}), (f"::ffff:{FAKE4}", {FAKE4}),
    (REAL4, set())])
def test_who_listens_at_a_fake_address(lab: Lab, place: str, hit: set[str]) -> None:
    lab.input_rule(*RULE)
    process = lab.gateway.popen([sys.executable, "-c", LISTEN, place], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        found = check(lab.gateway, *SERVERS, "-n", "23")
        assert len(found) == len(hit)
        for address in hit:
            assert any(line.startswith("something listens at ") and f"fake address {address}:" in line
                       for line in found), found
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_addresses_of_another_host(lab: Lab) -> None:
    lab.input_rule(*RULE)
    servers = ("-f", "192.0.2.77", "-f", FAKE6, "-r", REAL4, "-r", "2001:db8::77", "-n", "23")
    assert check(lab.gateway, *servers) == [
        f"{address} is no address of this host: no packet to it comes here"
        for address in ("192.0.2.77", "2001:db8::77")]
    # A router has them behind it.
    lab.gateway.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    assert check(lab.gateway, *servers) == []


@pytest.mark.parametrize(("number", "programs", "missing"), [
    ("23", ["iptables"], ["IPv6"]), ("22", ["iptables", "ip6tables"], ["IPv4", "IPv6"]), ("23", [], ["IPv4", "IPv6"])])
def test_no_rule_feeds_the_queue(lab: Lab, number: str, programs: list[str], missing: list[str]) -> None:
    if programs:
        lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "NFQUEUE", "--queue-num", number,
                       programs=programs)
    assert check(lab.gateway, *SERVERS, "-n", "23") == [
        f"no rule of the firewall feeds queue 23 with {version}" for version in missing]


def test_the_start_says_it_in_the_log(lab: Lab) -> None:
    """And serves."""
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5"]) as process:
        process.wait_for("start ")
        for version in ("IPv4", "IPv6"):
            process.wait_for(f'surroundings reason="no rule of the firewall feeds NFLOG group 5 with {version}"')
        assert process.stop() == 0


def test_what_the_rules_feed() -> None:
    iptables = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j NFQUEUE --queue-balance 3:5 --queue-bypass\n" \
               "-A INPUT -j NFLOG\n-A INPUT -m comment --comment \"-x\" -j NFLOG --nflog-group 7\nCOMMIT\n"
    assert surroundings.of_iptables(iptables, 4) == {
        ("queue", 3, 4), ("queue", 4, 4), ("queue", 5, 4), ("group", 0, 4), ("group", 7, 4)}
    nft = "table inet mx {\n\tchain input {\n\t\ttcp dport 25 queue flags bypass,fanout to 23-24\n" \
          "\t\ttcp dport 25 log prefix \"x\" group 5 accept\n\t}\n}\ntable ip6 a {\n\t\tqueue num 9 bypass\n}\n"
    assert surroundings.of_nft(nft) == {
        *(("queue", number, version) for number in (23, 24) for version in (4, 6)), ("group", 5, 4), ("group", 5, 6),
        ("queue", 9, 6)}


def test_tables_of_listeners_of_either_family() -> None:
    head = "  sl  local_address rem_address   st\n"
    assert surroundings.listeners_of(f"{head}   0: 0A0200C0:0019 00000000:0000 0A 0\n"
                                     "   1: 0B0200C0:0019 01010101:1111 01 0\n   2: 0B0200C0:001A 00000000:0000 0A 0\n",
                                     4) == [ip_address("192.0.2.10")] or sys.byteorder == "big"
    zero = "0" * 32
    assert surroundings.listeners_of(f"{head}   0: {zero}:0019 {zero}:0000 0A 0\n", 6) == [ip_address("::")]


def test_what_cannot_be_found_out_is_not_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that fails, as without privileges, and none at all."""
    failing = tmp_path / "nft"
    failing.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    failing.chmod(0o755)
    monkeypatch.setattr(surroundings, "_PATHS", str(tmp_path))
    assert surroundings.look([], [ip_address("127.0.0.1")], [23], []) == []
    failing.unlink()
    assert surroundings.look([], [ip_address("127.0.0.1")], [23], []) == []


class Counting:
    """The counters of a decision."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self.fake = self.real = 0

    def counters(self) -> dict[str, int]:
        """As the test says."""
        return dict.fromkeys(self._names, 0) | {"fake-new": self.fake, "real-refused": self.real}


def test_nothing_at_the_fake_server_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    backends, _ = alone()
    # It has the names that a real one has.
    counting = Counting(backends.fastpaths[0].counters())
    monkeypatch.setattr(backends, "fastpaths", [counting])
    lines: list[str] = []
    now = [0.0]
    absence = Absence(backends, log_to(lines), lambda: now[0])

    def step(seconds: float, *, fake: int = 0, real: int = 0) -> list[str]:
        now[0] += seconds
        counting.fake += fake
        counting.real += real
        lines.clear()
        absence.look()
        return list(lines)

    assert step(2 * AFTER_S) == []  # nothing at all is no absence
    assert step(1, real=3) == []
    assert step(AFTER_S - 1, real=1) == []
    assert step(1) == ["nothing-at-fake state=on real=4 seconds=3600"]
    assert step(AFTER_S, real=1) == []
    assert step(AGAIN_S - AFTER_S) == ["nothing-at-fake state=on real=5 seconds=90000"]
    assert step(1, fake=1, real=1) == ["nothing-at-fake state=off"]
    assert step(2 * AFTER_S) == []
    assert step(1, real=1) == []
    # Not twice a day, whatever came between.
    assert step(AFTER_S) == []
    assert step(AGAIN_S - 10_802) == ["nothing-at-fake state=on real=1 seconds=79198"]


def test_connections_past_the_daemon_are_said() -> None:
    lines: list[str] = []
    now = [0.0]
    bypass = Bypass(log_to(lines), lambda: now[0])

    def step(received: int, *hosts: int) -> list[str]:
        now[0] += 10
        lines.clear()
        bypass.look(received, [bytes([host]) * 16 for host in hosts])
        return list(lines)

    assert step(0) == []
    # A few hosts that come again and again are exempt ones.
    assert [step(0, 1, 2, 3) for _ in range(50)] == [[]] * 50
    assert step(0, *range(BYPASSED_HOSTS)) == [f"bypassed hosts={BYPASSED_HOSTS} seconds=520"]
    assert step(0, *range(50)) == []
    # Packets come: nothing is wrong, whoever connects.
    assert [step(received, *range(received, received + 4)) for received in range(1, 20)] == [[]] * 19
    now[0] += AGAIN_S
    assert step(19, *range(100, 120)) != []


def test_a_rule_in_front_is_noticed(guarded: Lab) -> None:
    """Real connections past the queue's rule."""
    hosts = [f"192.0.2.{number}" for number in range(110, 110 + BYPASSED_HOSTS)]
    client = guarded.client("client", *hosts)
    rule = ["iptables", "-w", "10", "-I", "INPUT", "-p", "tcp", "--dport", "25", "-j", "ACCEPT"]
    guarded.gateway.run(rule, check=True)
    with DaemonProcess(guarded.gateway, [*SERVERS, "-n", "23", "-b"]) as daemon:
        daemon.wait_for("start ")
        for host in hosts:
            assert client.attempt(REAL4, source=host) is Attempt.CONNECTED
        assert daemon.wait_for("bypassed ", timeout=6).startswith(f"bypassed hosts={BYPASSED_HOSTS} seconds=")
