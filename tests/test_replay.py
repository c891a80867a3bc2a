"""Replay: candidates through the daemon's decision in the capture's time, and the command that shows it."""
import json
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd._fastpath import Fastpath
from mxallowd.captures._capture import CANDIDATE_SIZE, select
from mxallowd.captures._replay import feed, preload, replay
from mxallowd.captures.filters import destination_port
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from tests.links import LINKS, ethernet, pcap, pcapng
from tests.oracle import Oracle, Whitelist
from tests.strategies import FAKE, HOSTS, REAL, ipv4, packed, syn
from tests.test_capture import batch

ROOT = Path(__file__).parent.parent
FAKES, REALS = ["192.0.2.3", "192.0.2.4", "2001:db8::3"], ["192.0.2.5", "2001:db8::5", "2001:db8::6"]
LIFETIME_S = 10


def candidate(time_us: int, packet: bytes) -> bytes:
    return struct.pack("=QI", time_us, len(packet)) + packet.ljust(CANDIDATE_SIZE - 12, b"\0")


def make(capacity: int = 100) -> Fastpath:
    return Fastpath(Table(capacity), Ring(1024, -1), Rules(FAKE, REAL, LIFETIME_S))


steps = st.lists(st.tuples(
    st.integers(-2_000_000, 6_000_000), st.builds(syn, st.sampled_from(HOSTS), st.sampled_from(FAKE + REAL))),
    max_size=200)


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(1, 12))
def test_the_captures_clock_drives_expiry(sequence: list[tuple[int, bytes]], capacity: int) -> None:
    """Each packet at its own time, which never goes back, as the oracle has it."""
    path, oracle = make(capacity), Oracle(Whitelist(capacity), FAKE, REAL, LIFETIME_S)
    # The table takes expired entries away behind a batch: room is all that this changes, so one packet a call.
    time_us, clock_us, expected = 100_000_000, 0, Counter[str]()
    last = 0
    for wait_us, packet in sequence:
        time_us += wait_us
        clock_us = max(clock_us, time_us)
        expected[oracle.decide(packet, clock_us)] += 1
        times, last = replay(path, candidate(time_us, packet), last)
        assert (len(times), last) == (4, clock_us)
    assert {name: count for name, count in path.counters().items() if count} == expected


def test_a_batch_has_the_time_of_each_packet() -> None:
    """Entries end between two packets of one batch."""
    path = make()
    to_fake, to_real = syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0])
    end = LIFETIME_S * 1_000_000
    times, last = replay(path, b"".join([
        candidate(0, to_fake), candidate(end - 1, to_real), candidate(end, to_real), candidate(end, to_fake),
        candidate(end + 5, to_real), candidate(3, to_real)]))
    assert (len(times), last) == (4, end + 5)
    assert path.counters() | {"other": 0} == {
        "fake-new": 2, "fake-known": 0, "fake-no-host": 0, "real-first": 2, "real-again": 1,
        "real-untold": 0, "real-network": 0, "real-patient": 0,
        "real-refused": 1, "fake-denied": 0, "real-allowed": 0, "real-denied": 0, "other": 0,
        "no-syn": 0, "malformed": 0}


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_one_time_a_batch(count: int) -> None:
    times, _ = replay(make(), candidate(0, syn(HOSTS[0], FAKE[0])) * count)
    assert len(times) == 4 * ((count + 63) // 64)


def test_ten_million_packets_balance() -> None:
    path = make(1000)
    stretch = b"".join(candidate(0, syn(packed(f"10.0.{i >> 8}.{i & 255}"), server))
                       for i in range(5000) for server in (FAKE[0], REAL[0], packed("192.0.2.99"), REAL[0]))
    for _ in range(500):
        replay(path, stretch)
    counters, table = path.counters(), path.table.counters()
    assert sum(counters.values()) == 10_000_000
    assert counters["other"] == 2_500_000
    assert counters["real-first"] + counters["real-again"] + counters["real-refused"] == 5_000_000
    assert table["added"] == counters["fake-new"] == table["evicted"] + table["entries"]


def test_preload() -> None:
    table = Table(1000)
    preload(table, 900, 50, 0)
    assert len(table) == 900
    assert table.find(packed("100::"), 49) == (50, False, False)
    assert table.find(packed("100::"), 50) is None
    # Number 1 in the machine's byte order.
    assert table.find(packed("100::")[:8] + struct.pack("=Q", 1), 0) is not None
    with pytest.raises(ValueError, match="no room for 1001 entries"):
        preload(Table(1000, 2), 1001, 50, 0)


# ---- the command

def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "benchmarks/replay.py", *map(str, arguments)], cwd=ROOT, capture_output=True,
                          text=True, timeout=100)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def servers() -> list[str]:
    return [*(word for fake in FAKES for word in ("-f", fake)), *(word for real in REALS for word in ("-r", real))]


TALK = [syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0]), syn(HOSTS[0], REAL[0]), syn(HOSTS[1], REAL[0]),
        syn(HOSTS[-1], REAL[1]), syn(HOSTS[-1], FAKE[2]), syn(HOSTS[-1], REAL[2]), ipv4(HOSTS[2], packed("192.0.2.99"),
        struct.pack("!HHIIBBHHH", 1, 25, 0, 0, 80, 2, 0, 0, 0)), ipv4(HOSTS[2], REAL[0], b"", protocol=17)]
COUNTS = {
    "packets": 9, "candidates": 8, "fake": 2, "accept": 3, "drop": 2, "other": 1, "malformed": 0, "whitelisted": 2}


@pytest.mark.parametrize("name", LINKS)
def test_a_capture_of_every_link_type(name: str, tmp_path: Path) -> None:
    link_type, wrap = LINKS[name]
    capture = pcap(tmp_path / "a.pcap", link_type, [wrap(packet) for packet in TALK])
    status, output, errors = run(capture, "--json", *servers())
    assert (status, errors) == (0, "")
    shown = json.loads(output)
    assert {key: shown[key] for key in COUNTS} == COUNTS
    assert (shown["fake_servers"], shown["real"]) == (FAKES, REALS)
    assert shown["pps"] == pytest.approx(8 / shown["seconds"])
    assert shown["ns_per_packet"] > 0


@pytest.mark.parametrize("form", ["nanoseconds", "swapped", "pcapng"])
def test_every_file_format(form: str, tmp_path: Path) -> None:
    records = [ethernet(packet) for packet in TALK]
    path = tmp_path / "a.pcap"
    if form == "pcapng":
        pcapng(path, 1, records)
    elif form == "swapped":
        pcap(path, 1, records, order=">" if sys.byteorder == "little" else "<")
    else:
        # Half a second a packet: as microseconds this would be far past a lifetime of 4 s.
        times = [(1_700_000_000 + i // 2, i % 2 * 500_000_000) for i in range(9)]
        pcap(path, 1, records, nanoseconds=True, times=times)
    status, output, _ = run(path, "--json", "-t", "9" if form != "nanoseconds" else "4", *servers())
    assert status == 0
    assert {key: json.loads(output)[key] for key in COUNTS} == COUNTS


def test_the_two_most_frequent_destinations_are_taken(tmp_path: Path) -> None:
    capture = pcap(tmp_path / "a.pcap", 1, [ethernet(packet) for packet in [*TALK, TALK[0], TALK[1]]])
    status, output, errors = run(capture, "--json")
    assert status == 0
    assert "most frequent destination, 192.0.2.5, as the real server" in errors
    assert "the second, 192.0.2.3, as the fake one" in errors
    shown = json.loads(output)
    assert (shown["real"], shown["fake_servers"], shown["fake"], shown["other"]) == (["192.0.2.5"], ["192.0.2.3"], 2, 4)


def test_lifetime_repeat_and_entries(tmp_path: Path) -> None:
    times = [(1000, 0), (1009, 999_999), (1010, 0)]
    capture = pcap(tmp_path / "a.pcap", 1, [ethernet(packet) for packet in (TALK[0], TALK[1], TALK[1])], times=times)
    shown = json.loads(run(capture, "--json", "-t", "10", "--repeat", "3", "--entries", "1000", *servers())[1])
    assert (shown["fake"], shown["accept"], shown["drop"], shown["whitelisted"], shown["repeat"]) == (1, 1, 1, 1000, 3)
    assert shown["pps"] == pytest.approx(9 / shown["seconds"])


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_damaged_file_is_reported_up_to_the_damage(form: str, tmp_path: Path) -> None:
    records = [ethernet(packet) for packet in TALK] * 1000
    whole = pcap(tmp_path / "whole", 1, records) if form == "pcap" else pcapng(tmp_path / "whole", 1, records)
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(content[:-20])
    status, output, errors = run(cut, "--json", *servers())
    assert status == 1
    assert errors.count("\n") == 1
    assert errors.startswith(f'replay: "{cut}" is damaged: ')
    assert errors.endswith("; reported is what came before\n")
    assert json.loads(output)["packets"] == len(records) - 1
    status, output, _ = run(cut)
    assert status == 1
    assert f"{len(records) - 1:,}" in output


def test_junk_in_the_middle(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a.pcap", 1, [ethernet(packet) for packet in TALK] * 700)
    content = bytearray(path.read_bytes())
    content[len(content) // 2:] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    status, output, errors = run(path, "--json", *servers())
    assert status == 1
    assert "is damaged" in errors
    assert 3000 < json.loads(output)["packets"] < 3300


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.touch()
    assert run(nothing) == (1, "", f'replay: "{nothing}" is empty\n')
    status, output, errors = run(pcap(tmp_path / "no-records", 1, []), "--json", *servers())
    assert status == 1
    assert "is empty: it holds no record" in errors
    assert json.loads(output)["packets"] == 0
    status, output, errors = run(pcap(tmp_path / "no-records", 1, []))
    assert status == 1
    assert "is empty: it holds no record" in errors


@pytest.mark.parametrize(("content", "message"), [
    (b"fake-mailserver 192.0.2.1\n", "cannot be read as a capture: unknown file format"),
    (None, "is not there"), ("directory", "is not a file"),
    ("link", "has link type 105; known are Ethernet"),
])
def test_what_is_no_capture(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a\nb"
    if content == "directory":
        path.mkdir()
    elif content == "link":
        pcap(path, 105, [bytes(100)])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    status, output, errors = run(path, *servers())
    assert (status, output) == (1, "")
    assert errors.count("\n") == 1
    assert f'a\\x0ab" {message}' in errors


@pytest.mark.parametrize(("arguments", "quoted"), [
    (["-f", "1.2.3"], '"1.2.3" is not an IPv4 or IPv6 address'), (["-t", "0"], '"0" is out of range'),
    (["--port", "x"], '"x" is not a number'), (["--repeat", "0"], '"0" is out of range'),
    (["-f", "192.0.2.5"], "192.0.2.5 is both fake and real"),
])
def test_bad_arguments(arguments: list[str], quoted: str, tmp_path: Path) -> None:
    capture = pcap(tmp_path / "a.pcap", 1, [ethernet(packet) for packet in TALK])
    status, output, errors = run(capture, *servers(), *arguments)
    assert status != 0
    assert output == ""
    assert quoted in errors


def test_plot(tmp_path: Path) -> None:
    capture = pcap(tmp_path / "a.pcap", 1, [ethernet(packet) for packet in TALK])
    picture = tmp_path / "rate.png"
    status, output, _ = run(capture, *servers(), "--max-entries", "1000", "--plot", picture)
    assert status == 0
    assert "packets/s" in output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_feeding_keeps_time() -> None:
    """As the capture back end does: all at one time, or at the times of the capture, which never go back."""
    ring = Ring(64, -1)
    path = Fastpath(Table(8), ring, Rules(FAKE, REAL, 1))
    chosen, _ = select(*batch([syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0]), syn(HOSTS[0], REAL[0])],
                              [10_000_000, 10_500_000, 12_000_000]), 101, destination_port(25))
    assert feed(path, chosen, 77) == 77
    assert path.counters()["real-refused"] == 0
    assert len(ring) == 2
    path = Fastpath(Table(8), ring, Rules(FAKE, REAL, 1))
    assert feed(path, chosen, 100, offset_us=-9_000_000) == 3_000_000
    # By the capture's clock it expired before its second visit.
    assert (path.counters()["real-first"], path.counters()["real-refused"]) == (1, 1)
    assert feed(path, chosen, 9_000_000, offset_us=-20_000_000) == 9_000_000
