"""How long it takes until a contact on one gateway counts on another, with 2,000 of them a second."""
import pickle
import re
import select
import socket
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.hosts import FAKE4, Host
from mxallowd.fleet.batch import RECORD_SIZE
from tests.gateways import Gateway, fleet, start
from tests.real_time import in_real_time
from tests.until import until

RATE, SECONDS = 2000, 2
NUMBER = RATE * SECONDS
WHITELIST_MS, KERNEL_MS = 35.0, 60.0
TRIES = 4
FIRST = "10.1.0.0"
# When the whitelist has taken what another gateway said, by the clock that all hosts of a machine share.
NOTING = """
import os, pickle, sys, time
from mxallowd.whitelist import Whitelist

seen, told = [], Whitelist.told
# Once it serves, it may open no file for writing.
file = open(os.environ["TOLD"], "wb")

def noted(self, records, **more):
    done = told(self, records, **more)
    seen.append((time.monotonic_ns(), bytes(records)))
    return done

Whitelist.told = noted
from mxallowd import cli
status = cli.main(sys.argv[1:])
pickle.dump(seen, file)
file.close()
sys.exit(status)
"""
NFNLGRP_NFTABLES, NETLINK_NETFILTER = 7, 12
# An attribute with an address of 10.0.0.0/8 as the value of an element (NFTA_DATA_VALUE).
ELEMENT = re.compile(rb"\x08\x00\x01\x00(\x0a...)", re.DOTALL)


@contextmanager
def elements(host: Host) -> Iterator[dict[bytes, int]]:
    """When the kernel told of an address in a set of this host, by that clock."""
    seen: dict[bytes, int] = {}
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([netlink], [], [], 0.1)[0]:
                data = netlink.recv(1 << 20)
                now = time.monotonic_ns()
                for address in ELEMENT.findall(data):
                    seen.setdefault(address, now)

    with host.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        netlink.bind((0, 1 << NFNLGRP_NFTABLES - 1))
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield seen
        finally:
            ended.set()
            reader.join()


def percentile(times: Sequence[float], part: float) -> float:
    """So large a part of them is at most this."""
    return sorted(times)[max(0, round(len(times) * part) - 1)]


def measure(directory: Path, way: str = "queue-set-mark") -> tuple[list[float], list[float]]:
    """Milliseconds from a contact on one gateway to the whitelist of another, and to the kernel's set there."""
    with fleet(directory) as made:
        engine = made.engine()
        a, b = made.gateway("a", way=way), made.gateway("b", way=way)
        b.script = NOTING
        start(a, b)
        assert engine.process
        in_real_time(engine.process.pid, a.daemon.process.pid, b.daemon.process.pid)
        with elements(b.lab.gateway) as seen:
            sent = send(a, directory / "sent")
            assert until(lambda: len(seen) == NUMBER, 20)
        assert b.stop() == 0
        assert a.stop() == 0
    first = int.from_bytes(bytes(map(int, FIRST.split("."))), "big")
    told: dict[bytes, int] = {}
    for now, records in pickle.loads((directory / "told").read_bytes()):
        for place in range(0, len(records), RECORD_SIZE):
            told.setdefault(records[place + 12:place + 16], now)
    addresses = [(first + number).to_bytes(4, "big") for number in range(NUMBER)]
    return ([(told[address] - at) / 1e6 for address, at in zip(addresses, sent, strict=True)],
            [(seen[address] - at) / 1e6 for address, at in zip(addresses, sent, strict=True)])


def send(gateway: Gateway, file: Path) -> "array[int]":
    """The contacts; when each of them was."""
    done = gateway.client.run([sys.executable, "-m", "tests.contacts", FAKE4, FIRST, str(NUMBER), str(RATE), str(file)],
                              capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    times = array("q")
    times.frombytes(file.read_bytes())
    return times


@pytest.mark.alone
@pytest.mark.usefixtures("namespaces")
def test_a_contact_counts_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of some, since others use the machine."""
    found = []
    for number in range(TRIES):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.setenv("TOLD", str(place / "told"))
        whitelist, kernel = (percentile(times, 0.99) for times in measure(place))
        found.append((whitelist, kernel))
        if whitelist <= WHITELIST_MS and kernel <= KERNEL_MS:
            return
    pytest.fail(f"ms to the whitelist and to the kernel's set, 99 of 100: {found}")


if __name__ == "__main__":
    import os
    import tempfile
    for one in sys.argv[1:] or ["queue-set-mark"]:
        with tempfile.TemporaryDirectory() as made_here:
            os.environ["TOLD"] = f"{made_here}/told"
            for name, numbers in zip(("whitelist", "kernel"), measure(Path(made_here), one), strict=True):
                print(f"{one} {name}: p50 {percentile(numbers, 0.5):.1f} ms, p99 {percentile(numbers, 0.99):.1f} ms, "
                      f"longest {max(numbers):.1f} ms")
