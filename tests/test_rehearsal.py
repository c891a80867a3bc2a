"""A rehearsal sees what the firewall would have seen, whatever stands before TCP, and says what it passed over."""
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6
from tests.daemon_process import SERVERS, STAMP
from tests.links import LINKS, ethernet, pcap, pcapng
from tests.strategies import HOP_BY_HOP, HOSTS, ROUTING, ipv4, ipv6, packed, syn
from tests.test_capture import tcp
from tests.test_replay import ROOT

FOUR, SIX = HOSTS[0], HOSTS[-1]
EXTENSIONS = ((HOP_BY_HOP, bytes(6)), (ROUTING, bytes(14)), (60, bytes(6)))
TALK = [syn(FOUR, packed(FAKE4)), syn(FOUR, packed(REAL4)), syn(HOSTS[1], packed(REAL4)), syn(SIX, packed(FAKE6)),
        ipv6(SIX, packed(REAL6), tcp(), extensions=EXTENSIONS)]
# What --syn of iptables does not match, and conntrack calls INVALID: SYN with FIN, with RST, with ACK.
NO_ATTEMPTS = [ipv4(HOSTS[2], packed(FAKE4), tcp(flags)) for flags in (3, 6, 0x12, 7, 0x16)]


def rehearse(capture: str, *arguments: str, stdin: bytes | None = None) -> tuple[int, list[str], dict[str, int], str]:
    """Status, lines, counters and standard error."""
    done = subprocess.run([sys.executable, "-m", "mxallowd", "-F", "-s", "--user", "root", "-c", "/dev/null", *SERVERS,
                           "-b", "--no-sandbox", "-p", f"file:{capture}", *arguments], input=stdin, capture_output=True,
                          timeout=30, cwd=ROOT)
    lines = [STAMP.sub("", line, count=1) for line in done.stdout.decode().splitlines()]
    counters = next((line for line in lines if line.startswith("counters ")), "")
    return done.returncode, lines, {key: int(value) for key, value in (
        pair.split("=") for pair in counters.split()[1:])}, done.stderr.decode()


def check(found: tuple[int, list[str], dict[str, int], str]) -> None:
    """All of TALK has counted, and nothing else has."""
    status, lines, counters, _ = found
    assert status == 0, lines
    assert (counters["fake-new"], counters["real-first"], counters["real-refused"]) == (2, 2, 1)
    assert counters["received"] == len(TALK) + len(NO_ATTEMPTS)
    assert counters["broken"] == counters["other"] == 0


@pytest.mark.parametrize("name", LINKS)
def test_every_link_type_as_replay_sees_it(name: str, tmp_path: Path) -> None:
    link_type, wrap = LINKS[name]
    capture = pcap(tmp_path / "a.pcap", link_type, [wrap(packet) for packet in TALK + NO_ATTEMPTS])
    check(rehearse(str(capture)))
    done = subprocess.run([sys.executable, "benchmarks/replay.py", str(capture), "--json", *SERVERS], cwd=ROOT,
                          capture_output=True, text=True, timeout=60)
    shown = json.loads(done.stdout)
    assert (shown["packets"], shown["fake"], shown["accept"], shown["drop"]) == (10, 2, 2, 1)


def test_compressed_files_and_standard_input(tmp_path: Path) -> None:
    plain = pcapng(tmp_path / "a", 1, [ethernet(packet) for packet in TALK + NO_ATTEMPTS]).read_bytes()
    # Two members, and the cut inside a record: as after cat a.gz b.gz.
    members = gzip.compress(plain[:300]) + gzip.compress(plain[300:])
    packed_file = tmp_path / "a.pcap.gz"
    packed_file.write_bytes(members)
    check(rehearse(str(packed_file)))
    check(rehearse("-", stdin=plain))
    check(rehearse("-", stdin=members))


def test_standard_input_that_comes_slowly(tmp_path: Path) -> None:
    """The main loop goes on meanwhile: it stops at SIGTERM."""
    content = pcap(tmp_path / "a", 1, [ethernet(packet) for packet in TALK]).read_bytes()
    with subprocess.Popen([sys.executable, "-m", "mxallowd", "-F", "-s", "--user", "root", "-c", "/dev/null", *SERVERS,
                           "-b", "--no-sandbox", "-p", "file:-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          cwd=ROOT) as process:
        assert process.stdin
        for at in range(0, len(content), 100):
            process.stdin.write(content[at:at + 100])
            process.stdin.flush()
            time.sleep(0.05)
        time.sleep(0.5)
        process.terminate()
        assert process.wait(5) == 0
        assert process.stdout
        said = process.stdout.read().decode()
        assert said.count(" whitelisted ") == 2
        assert "stop signal=SIGTERM received=5" in said


@pytest.mark.parametrize(("content", "reason"), [
    (b"\xfd7zXZ\x00" + bytes(50), "is compressed with xz; unpack it, or use gzip"),
    (b"\x28\xb5\x2f\xfd" + bytes(50), "is compressed with zstd"), (b"BZh91" + bytes(50), "is compressed with bzip2"),
    (b"", "is empty"), (b"no capture at all, but text", "cannot be read as a capture: unknown file format"),
    (gzip.compress(b"text", mtime=0), "cannot be read as a capture: unknown file format")],
    ids=["xz", "zstd", "bzip2", "empty", "text", "text-in-gzip"])
def test_what_is_no_capture_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    for name, stdin in ((str(path), None), ("-", content)):
        status, lines, _, errors = rehearse(name, stdin=stdin)
        assert status == 1
        assert reason in errors + "".join(lines)
        assert "Traceback" not in errors


def test_a_compressed_file_that_is_cut(tmp_path: Path) -> None:
    whole = gzip.compress(pcap(tmp_path / "a", 1, [ethernet(packet) for packet in TALK] * 2000).read_bytes())
    (tmp_path / "a").write_bytes(whole[:-100])
    status, lines, _, _ = rehearse(str(tmp_path / "a"), "--log-hosts", "10")
    assert status == 1
    assert any("is damaged: its compressed data ends too early" in line for line in lines)


def damaged(form: str, tmp_path: Path) -> bytes:
    """TALK, damaged at its end; the last record is whole only where the damage is behind it."""
    writer = pcapng if form.startswith("pcapng") else pcap
    plain = writer(tmp_path / "whole", 1, [ethernet(packet) for packet in TALK]).read_bytes()
    whole = gzip.compress(plain, mtime=0)
    wrong_sum = whole[:-8] + bytes([whole[-8] ^ 0xFF]) + whole[-7:]
    return {"pcap": plain[:-10], "pcapng": plain[:-10], "pcapng-word": plain[:-3], "gzip": whole[:-4],
            "gzip-junk": whole + b"junk behind it", "gzip-sum": wrong_sum,
            "gzip-of-a-cut": gzip.compress(plain[:-10])}[form]


@pytest.mark.parametrize(("form", "records", "reason"), [
    ("pcap", 4, "it ends inside a record"), ("pcapng", 4, "it ends inside a record"),
    ("pcapng-word", 4, "it ends inside a record"), ("gzip", 5, "its compressed data ends too early"),
    ("gzip-junk", 5, "what follows its compressed data is none"), ("gzip-sum", 5, "incorrect data check"),
    ("gzip-of-a-cut", 4, "it ends inside a record")])
def test_what_stands_before_damage_is_counted(form: str, records: int, reason: str, tmp_path: Path) -> None:
    content = damaged(form, tmp_path)
    path = tmp_path / "damaged"
    path.write_bytes(content)
    for name, stdin in ((str(path), None), ("-", content)):
        status, lines, counters, errors = rehearse(name, stdin=stdin)
        assert status == 1
        assert counters["received"] == records
        assert (counters["fake-new"], counters["real-first"], counters["real-refused"]) == (2, records - 3, 1)
        [line] = errors.splitlines()
        assert line.startswith("mxallowd: ")
        assert "is damaged: " in line
        assert reason in line
        assert any(line.startswith("capture-failed ") for line in lines)
        assert not any(line.startswith("stop ") for line in lines)


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    """Never nothing in silence: records without IP, a filter that lets nothing in, no attempts, no records."""
    odd = [bytes(12) + b"\x81\x00\x00\x07\x88\xe5" + bytes(60)] * 3 + [bytes(12) + b"\x08\x06" + bytes(28)]
    status, lines, counters, _ = rehearse(str(pcap(tmp_path / "a", 1, odd)))
    assert (status, counters["received"]) == (0, 4)
    assert 'passed-over records=3 reason="no IP behind Ethernet, type 0x88e5"' in lines
    assert 'passed-over records=1 reason="no IP behind Ethernet, type 0x0806"' in lines
    assert not any("records=0" in line for line in lines)
    lines = rehearse(str(pcap(tmp_path / "a", 1, [ethernet(packet) for packet in TALK])), "-l", "port 26")[1]
    assert 'passed-over records=5 reason="the filter \\"port 26\\" does not let them in"' in lines
    lines = rehearse(str(pcap(tmp_path / "a", 1, [ethernet(packet) for packet in NO_ATTEMPTS])))[1]
    assert any(line.startswith("passed-over records=5 reason=\"no connection attempts") for line in lines)
    lines = rehearse(str(pcap(tmp_path / "a", 1, [])))[1]
    assert 'capture-empty reason="the capture holds no record"' in lines
    assert not any("records=0" in line for line in lines)


def test_filters_that_libpcap_alone_knows(tmp_path: Path) -> None:
    """They see IP packets, so that a tag before them hides nothing."""
    capture = str(pcap(tmp_path / "a", 1, [LINKS["double-vlan"][1](packet) for packet in TALK]))
    counters = rehearse(capture, "-l", "tcp port 25 and src host 192.0.2.101 or ip6")[2]
    plain = rehearse(capture)[2]
    assert plain["real-refused"] == 1
    assert counters["real-refused"] <= plain["real-refused"]
    assert counters["fake-new"] >= 1
    status, _, _, errors = rehearse(capture, "-l", "vlan 7 and port 25")
    assert status == 1
    assert errors.startswith('mxallowd: pcap-filter: "vlan 7 and port 25" is refused by libpcap: ')


def test_standard_input_needs_the_foreground() -> None:
    done = subprocess.run([sys.executable, "-m", "mxallowd", "-c", "/dev/null", *SERVERS, "-p", "file:-"], cwd=ROOT,
                          capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (
        1, "mxallowd: file:- (pflog-interface) reads standard input, which needs foreground\n")
