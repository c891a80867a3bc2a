"""The benchmarks run: each for a moment, without a word about how fast. (tests/test_replay.py has the replay.)"""
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import workload
from mxallowd.captures.files import read
from mxallowd.captures.filters import destination_port
from tests.oracle import Oracle, Whitelist
from tests.strategies import packed

ROOT = Path(__file__).parent.parent


def run(name: str, *arguments: str) -> Any:
    done = subprocess.run([sys.executable, f"benchmarks/{name}.py", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_decisions() -> None:
    """All programs drop the same packets, or it would say so."""
    small = ("--packets", "5000", "--hosts", "500", "--repeat", "1", "--entries", "10,1000")
    shown = run("decisions", *small, "--json")
    assert [row["entries"] for row in shown["rows"]] == [10, 1000]
    for row in shown["rows"]:
        assert all(row[f"{name}_ns"] > 0 for name in ("mxallowd", "C", "dpkt", "linear"))
    assert "dpkt / mxallowd" in run("decisions", *small)


def test_networks() -> None:
    small = ("--networks", "2000", "--packets", "5000", "--repeat", "1")
    shown = run("networks", *small, "--json")
    assert shown["networks"] == 2000
    assert 0 < shown["memory_mib"] < 64
    assert all(shown[f"{what}_ns"] > 0 for what in ("without", "with", "look_up"))
    assert "ns without" in run("networks", *small)


def test_table() -> None:
    small = ("--entries", "10,20000", "--lookups", "1000", "--repeat", "1")
    shown = run("table", *small, "--json")
    assert shown["rows"][1]["resident_kib"] > 0
    assert all(shown["rows"][0][f"mxallowd_{what}_ns"] > 0 for what in ("hit", "miss", "insert", "expire"))
    assert "bytes an entry" in run("table", *small)


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_answers() -> None:
    small = ("--entries", "500", "--networks", "50", "--by-hand", "2", "--repeat", "1", "--json")
    shown = {one["request"]: one for one in run("answers", *small)["holds"]}
    # Of a daemon without --fleet there is none.
    assert [name for name, one in shown.items() if one["status"] != 200] == ["/v1/fleet"]
    assert all(0 < one["processor_ms"] < one["answer_ms"] + 5 for one in shown.values())


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_tracking() -> None:
    shown = run("tracking", "--ways", "d", "--packets", "200", "--entries", "100", "--repeat", "1", "--json")
    for costs in shown["cost_ns"].values():
        assert set(costs) == {"no filter", "d, tracked", "d, notrack"}
        assert all(one > 0 for values in costs.values() for one in values)


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_refusing() -> None:
    shown = run("refusing", "--part", "cost", "--rounds", "1", "--json")
    assert [row["setting"] for row in shown["cost"]] == ["drop", "reset", "reset, no rule"]
    assert all(row["ns_a_packet"] > 0 for row in shown["cost"])


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("queues", ["1", "2"])
def test_queue(queues: str) -> None:
    small = ("--packets", "2000", "--entries", "100", "--queues", queues, "--rate", "2000", "--connects", "5",
             "--repeat", "1", "--mark")
    shown = run("kernel_queue", *small, "--json")
    [row] = shown["sets"]
    assert set(row["figures"]) == {"mxallowd", "mxallowd, with a mark", "libnetfilter_queue in C",
                                   "NetfilterQueue, callback", "limit in C"}
    assert all(figures["drop speed"][0] > 0 for figures in row["figures"].values())
    assert all(figures["steady lost"] == [0] for figures in row["figures"].values())


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_offload() -> None:
    shown = run("offload", "--part", "ways", "--packets", "2000", "--entries", "200", "--rate", "5000", "--repeat", "1",
                "--known", "99", "--changes", "10", "--json")
    assert set(shown["cost_ns"]) == {f"{name}, 99 %" for name in ("no filter", "a", "b", "c", "d")}
    # Known hosts are seen by nobody in user space, whatever the speed.
    assert all(values[0] < shown["daemon_ns"]["a, 99 %"][0] for values in shown["known_ns"].values())
    assert all(len(values) == 10 for values in shown["changes_ms"].values())
    assert len(shown["filling_s"]) == 1


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_flooding() -> None:
    shown = run("flooding", "--seconds", "1", "--ways", "hashlimit,d", "--at", "real", "--json")
    assert set(shown["runs"]) == {f"{name}, flood at the real server" for name in ("hashlimit", "d")}
    for row in shown["runs"].values():
        assert row["syns_per_s"][0] > 1000
        assert 0 < row["known_first"][0] <= row["known"][0] <= 1
    # Each made-up source comes once, so no limit by source drops it; at the door the kernel counts what it refuses.
    assert shown["runs"]["hashlimit, flood at the real server"]["counted"] == [0]
    assert shown["runs"]["d, flood at the real server"]["counted"][0] > 0.9


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_the_door() -> None:
    """Each filter is asked how many it dropped, so a flood that goes past one ends the benchmark."""
    shown = run("offload", "--part", "door", "--flood", "2000", "--entries", "200", "--repeat", "1", "--known", "0,99")
    for name in ("c) set.nft", "d) door.nft", "d) door.nft, mxallowd runs", "d) door-raw.nft", "XDP, generic",
                 "XDP, native"):
        # Unknown and known hosts of both families; all but two also at the fake server, or as a goal.
        assert shown.count(f"\n{name}  ") >= 4
    assert shown.count("part of c)'s") == 6
    assert "skipped" not in shown


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_rdns() -> None:
    shown = run("rdns", "--hosts", "200", "--rate", "100", "--connects", "50", "--repeat", "1", "--json")
    assert shown["lookups_per_s"][0] > 0
    assert shown["off_lookups"] == [0]
    assert shown["on_lookups"][0] > 0


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_soak() -> None:
    """Two or three faults, in an order that the seed gives; too short to tell a drift."""
    shown = run("soak", "--minutes", "0.3", "--seed", "3", "--json")
    assert shown["failures"] == []
    assert shown["connections"] > 100
    assert shown["spammers_dropped"] > 50
    assert shown["lives"] >= 2
    assert shown["packets"] > shown["verdicts"] > 10_000
    assert len(shown["faults"]) >= 2
    assert shown["memory_drift_kib"] is None


def test_the_workload_is_what_it_says(tmp_path: Path) -> None:
    """The same arguments give the same capture, all of it candidates, with every outcome of a gateway's day."""
    first, again = tmp_path / "first", tmp_path / "again"
    for path in (first, again):
        workload.write_capture(path, 3000, 300)
    assert first.read_bytes() == again.read_bytes()
    assert sum(chunk.records for chunk in read(first, lambda _: destination_port(25))) == 3000
    assert sum(len(chunk.candidates) for chunk in read(first, lambda _: destination_port(25))) == 3000 * 72
    oracle = Oracle(Whitelist(1000), [packed(text) for text in workload.FAKE], [packed(text) for text in workload.REAL],
                    3600)
    outcomes = {oracle.decide(packet, 0) for packet in workload.attempts(3000, 300)}
    assert outcomes == {"fake-new", "fake-known", "real-first", "real-again", "real-refused"}


@pytest.mark.parametrize(("name", "arguments"), [
    ("decisions", ["--entries", "abc"]), ("decisions", ["--packets", "0"]), ("table", ["--entries", "10,"]),
    ("table", ["--repeat", "0"]), ("rdns", ["--hosts", "8001"]),
    ("rdns", ["--rate", "x"]), ("kernel_queue", ["--rate", "0"]), ("kernel_queue", ["--queues", "65"]),
    ("soak", ["--minutes", "0"]), ("soak", ["--minutes", "nan"]), ("kernel_queue", ["--packets", "65536"]),
    ("offload", ["--known", "50"]), ("tracking", ["--ways", "a"]), ("offload", ["--entries", "1000001"]),
    ("offload", ["--part", "x"]),
    ("flooding", ["--seconds", "201"]), ("flooding", ["--ways", "e"]), ("flooding", ["--at", "both"]),
])
def test_bad_arguments_are_said_before_anything_is_measured(name: str, arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, f"benchmarks/{name}.py", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("namespaces")
def test_a_terminated_benchmark_leaves_nothing_behind() -> None:
    with subprocess.Popen([sys.executable, "benchmarks/kernel_queue.py", "--entries", "100", "--queues", "1"], cwd=ROOT,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        gateway = Path(f"/run/netns/bench-{running.pid}-0-gateway")
        deadline = time.monotonic() + 20
        while not gateway.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 128 + signal.SIGTERM
    assert not gateway.exists()
    assert subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True).stdout == b""


def test_neighbouring() -> None:
    shown = run("neighbouring", "--packets", "2000", "--hosts", "300", "--networks", "100", "--repeat", "2", "--json")
    assert [row["packets"] for row in shown["rows"]] == ["known", "refused", "let in"]
    assert all(row["on_ns"] > 0 for row in shown["rows"])


@pytest.mark.usefixtures("namespaces")
@pytest.mark.fleet
def test_fleet() -> None:
    small = ("--gateways", "6", "--seconds", "1", "--rates", "200", "--entries", "3000", "--settings", "TLS")
    shown = run("fleet", *small, "--json")
    assert [(row["setting"], row["missing"], row["errors"]) for row in shown["crowd"]] == [("TLS", 0, 0)]
    assert all(0 < row[f"{name}_p50_us"] <= row[f"{name}_p99_us"] for row in shown["crowd"]
               for name in ("own", "heard", "crowd"))
    assert [row["rate"] for row in shown["daemon"]] == [0, 200]
    assert len(shown["tree"]) == 5
    assert [(row["a_batch"], row["entries"]) for row in shown["load"]] == [(1, 3000), (5, 3000), (256, 3000)]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.fleet
def test_fleet_verdicts() -> None:
    shown = run("fleet_verdicts", "--blocks", "1", "--block-ms", "200", "--states", "on,hanging", "--json")
    assert [row["state"] for row in shown["rows"]] == ["off", "on", "hanging"]
    assert all(row["p99_us"] >= row["p50_us"] > 0 for row in shown["rows"])


@pytest.mark.benchmarks
def test_scrape() -> None:
    shown = run("scrape", "--blocks", "1", "--block-ms", "1000", "--json")
    assert shown["scrapes"] >= 2
    assert shown["p99_scraped_us"] >= shown["p50_scraped_us"] > 0
    assert shown["p99_ratio"] > 0


@pytest.mark.benchmarks
@pytest.mark.usefixtures("namespaces")
def test_console() -> None:
    """Also that 1,000 clients who want nothing keep no viewer waiting for longer than a point takes, and a moment."""
    shown = run("console", "--entries", "1000", "--repeat", "1", "--blocks", "1", "--block-ms", "200", "--watch", "5",
                "--json")
    assert {row["status"] for row in shown["pages"]} == {200}
    assert [row["state"] for row in shown["load"]] == ["off", "again", "viewers", "crowd"]
    for row in shown["load"][2:]:
        assert row["points"] >= 2
        assert row["longest_s"] < 4
