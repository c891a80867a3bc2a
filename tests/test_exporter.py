"""--metrics ADDRESS:PORT, on the running daemon: what it gives, who gives it, and what hostile clients cannot do."""
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.exporter import server
from mxallowd.metrics.series import SERIES
from mxallowd.process.libc import call
from tests.daemon_process import QUEUE, SERVERS, DaemonProcess, serving
from tests.until import until

PORT = 9199
WHERE = f"127.0.0.1:{PORT}"


class Answer(NamedTuple):
    """What came back."""

    status: int
    fields: str
    body: str


@contextmanager
def within(host: Host) -> Iterator[None]:
    """This thread is in the host's network."""
    with Path("/proc/thread-self/ns/net").open("rb") as before, Path(f"/run/netns/{host.name}").open("rb") as there:
        call("setns", there.fileno(), 0)
        try:
            yield
        finally:
            call("setns", before.fileno(), 0)


def connected() -> socket.socket:
    return socket.create_connection(("127.0.0.1", PORT), timeout=5)


def send(data: bytes) -> Answer:
    """The answer to these bytes."""
    with connected() as client:
        client.sendall(data)
        read = b""
        while more := client.recv(65_536):
            read += more
    head, _, body = read.decode().partition("\r\n\r\n")
    return Answer(int(head.split()[1]) if head else 0, head, body)


def get(path: str, accept: str = "*/*", method: str = "GET") -> Answer:
    return send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n".encode())


def exporters(daemon: int) -> list[int]:
    """The exporter of a daemon that runs."""
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children
            if b"mxallowd.exporter.server" in Path(f"/proc/{child}/cmdline").read_bytes()]


def status_of(process: int) -> dict[str, str]:
    return dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{process}/status").read_text(encoding="ascii"), re.M))


@contextmanager
def measured(lab: Lab, *arguments: str) -> Iterator[DaemonProcess]:
    """A daemon that gives metrics, and this thread beside it."""
    with serving(lab, "--metrics", WHERE, *arguments) as daemon, within(lab.gateway):
        yield daemon


def test_it_gives_what_the_daemon_counts(guarded: Lab, client: Host) -> None:
    with measured(guarded) as daemon:
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        time.sleep(0.2)
        answer = get("/metrics")
        assert (answer.status, "text/plain; version=" in answer.fields) == (200, True)
        samples = {(sample.name, *sample.labels.values()): sample.value for family in read_text(answer.body)
                   for sample in family.samples}
        assert samples["mxallowd_packets_total", "fake-new"] == samples["mxallowd_packets_total", "real-first"] == 1
        assert samples["mxallowd_queue_waiting", QUEUE] == 0
        assert samples["mxallowd_entries",] == samples["mxallowd_ready",] == samples["mxallowd_healthy",] == 1
        assert samples["mxallowd_entries_room",] >= 1_000
        counters = daemon.counters()
        assert samples["mxallowd_received_total",] == counters["received"]
        known = {one.full_name for one in SERIES}
        own = {"mxallowd_exporter_requests_total", "mxallowd_exporter_dropped_total"}
        assert {re.sub("_(bucket|count|sum)$", "", name) for name, *_ in samples} <= known | own
        answer = get("/metrics", "application/openmetrics-text; version=1.0.0")
        assert "application/openmetrics-text" in answer.fields
        assert answer.body.endswith("# EOF\n")
        again = {sample.name for family in read_openmetrics(answer.body) for sample in family.samples}
        assert again - own == {name for name, *_ in samples} - own
        for strange in "application/openmetrics-text; version=abc", "\xe4;q=x,;;,", "a/b; version=1.0.0; escaping=x":
            assert get("/metrics", strange).status == 200
        assert json.loads(get("/readyz").body) == {"status": "ready", "reasons": [], "warnings": []}
        assert get("/healthz").status == 200
        head = get("/metrics", method="HEAD")
        assert (head.status, head.body) == (200, "")
        # A main loop that does not run answers nothing, and that is said.
        daemon.send(signal.SIGSTOP)
        try:
            time.sleep(2 * server.FRESH_S)
            answer = get("/healthz")
        finally:
            daemon.send(signal.SIGCONT)
        assert (answer.status, "does not answer" in answer.body) == (503, True)
        assert daemon.stop() == 0


def test_it_has_no_right_and_ends_with_the_daemon(guarded: Lab) -> None:
    with measured(guarded, "--user", "nobody") as daemon:
        assert until(lambda: get("/healthz").status == 200)
        process = exporters(daemon.process.pid)[0]
        status = status_of(process)
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert set(status["Uid"].split()) == {"65534"}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        # One that ends is started again, by a daemon that has given up its privileges, and clients wait meanwhile.
        time.sleep(1)
        os.kill(process, signal.SIGKILL)
        assert get("/readyz").status == 200
        assert daemon.wait_for("metrics ") == 'metrics reason="the exporter has ended, status -9; it was started again"'
        process = exporters(daemon.process.pid)[0]
        daemon.process.kill()
        assert until(lambda: not Path(f"/proc/{process}").exists() or status_of(process)["State"].startswith("Z"))


SHORT = """
import sys
from mxallowd import cli
from mxallowd.exporter import process
process.SILENT_TICKS, process.MOST_LEFT = 2, 2
sys.exit(cli.main())
"""


def test_one_that_stands_still_is_replaced(guarded: Lab, client: Host) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", "--metrics", WHERE, "--user", "nobody"]
    with DaemonProcess(guarded.gateway, arguments, script=SHORT) as daemon, within(guarded.gateway):
        daemon.wait_for("start ")
        assert until(lambda: get("/healthz").status == 200)
        first = exporters(daemon.process.pid)
        os.kill(first[0], signal.SIGSTOP)
        assert "has said nothing for 2 seconds; it was started again" in daemon.wait_for("metrics ", timeout=10)
        # Another one answers, mail is decided, and the old one ends once it goes on.
        assert get("/healthz").status == 200
        assert client.attempt(FAKE4) is Attempt.REFUSED
        os.kill(first[0], signal.SIGCONT)
        assert until(lambda: len(exporters(daemon.process.pid)) == 1)
        # With a daemon that is killed each of them ends, whether it runs or not.
        [second] = exporters(daemon.process.pid)
        os.kill(second, signal.SIGSTOP)
        daemon.process.kill()
        assert until(lambda: not Path(f"/proc/{second}").exists() or status_of(second)["State"].startswith("Z"))


def test_one_whose_loop_spins_ends_itself() -> None:
    spins = ("import asyncio, os\nfrom mxallowd.exporter import server\nserver.SPINS_S = 0.2\n"
             "async def main():\n server.Daemon(0, 1, int).beat()\n while True: pass\nasyncio.run(main())")
    process = subprocess.Popen([sys.executable, "-c", spins], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.wait(20) == -signal.SIGPROF
        assert process.stdout and process.stdout.read() == b"."


@pytest.mark.parametrize(("data", "status"), [
    (b"nonsense\r\n\r\n", 400), (b"GET /metrics HTTP/1.1\nHost: a\n\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", 413),
    (b"GET /metrics HTTP/9.9\r\nHost: a\r\n\r\n", 505),
    (b"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405), (b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"GET /../metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404), (b"\0" * 100 + b"\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * 9000, 431)], ids=lambda value: repr(value)[:40])
def test_what_it_does_not_answer(one_daemon: None, data: bytes, status: int) -> None:
    assert send(data).status == status
    assert get("/healthz").status == 200


@pytest.fixture(scope="module")
def one_daemon() -> Iterator[None]:
    with Lab() as lab:
        lab.queue_rule(QUEUE)
        with measured(lab) as daemon:
            yield
            assert daemon.stop() == 0


def test_slow_clients_keep_nobody_out(one_daemon: None) -> None:
    """More than there is room for, some silent and some that never end their head; and others that read nothing.

    Who had to wait for a silent one would wait for the end of its time.
    """
    took: list[float] = []
    with ExitStack() as stack:
        for number in range(5 * server.MOST):
            client = stack.enter_context(connected())
            with suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\nA: b" if number % 2 else b"")
            if number % 10 == 0:
                begun = time.monotonic()
                assert get("/metrics").status == 200
                took.append(time.monotonic() - begun)
    assert statistics.median(took) < 1
    assert max(took) < server.HEAD_S
    samples = {sample.name: sample.value for family in read_text(get("/metrics").body) for sample in family.samples}
    assert samples["mxallowd_exporter_dropped_total"] >= 3 * server.MOST


def test_many_clients_are_one_question_to_the_daemon(one_daemon: None) -> None:
    """The daemon is asked once in a while, however many ask the exporter at a time."""
    found: list[int] = []
    network = Path("/proc/thread-self/ns/net").stat().st_ino

    def ask() -> None:
        assert Path("/proc/thread-self/ns/net").stat().st_ino == network
        found.append(get("/metrics").status)

    threads = [threading.Thread(target=ask) for _ in range(server.MOST - 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [200] * len(threads)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_a_port_that_is_taken_is_one_line(lab: Lab, address: str) -> None:
    def start() -> "subprocess.CompletedProcess[str]":
        return lab.gateway.run(
            [sys.executable, "-m", "mxallowd", "-c", "/dev/null", *SERVERS, "-n", QUEUE, "-b", "-F", "-s", "--user",
             "root", "--metrics", f"{address}:{PORT}"], capture_output=True, text=True, timeout=30)

    with within(lab.gateway), socket.create_server(
            (address.strip("[]"), PORT), family=socket.AF_INET6 if "[" in address else socket.AF_INET):
        done = start()
    reason = f"cannot give metrics at {address}:{PORT}: Address already in use"
    assert (done.returncode, done.stderr) == (1, f"mxallowd: {reason}\n")
    assert f'start-failed reason="{reason}"' in done.stdout


def test_without_the_option_nothing_listens(guarded: Lab) -> None:
    with serving(guarded) as daemon, within(guarded.gateway):
        assert exporters(daemon.process.pid) == []
        with pytest.raises(ConnectionRefusedError):
            connected()
        assert daemon.stop() == 0
