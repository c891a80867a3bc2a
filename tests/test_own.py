"""The file of networks that were added by hand, as somebody may have made it: what it costs and says is bounded."""
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from mxallowd.lists import own as module
from mxallowd.lists.files import MAX_FAULTS
from mxallowd.lists.own import OwnFile, OwnNetworks

GOOD = b"allow 192.0.2.0/24\n"


def loaded(directory: Path, content: bytes) -> tuple[OwnNetworks, list[tuple[str, str]]]:
    (directory / module.NAME).write_bytes(content)
    own = OwnNetworks(directory)
    return own, own.load()


@pytest.mark.parametrize("content", [b"x\n" * (1 << 20), b"x " * (1 << 22) + b"\n", b"\n" * (1 << 22),
                                     b"deny 10.0.0.1 until=x seconds=" + b"1" * 5000 + b"\n"])
def test_a_file_that_somebody_made_costs_little(tmp_path: Path, content: bytes) -> None:
    started = time.process_time()
    own, faults = loaded(tmp_path, GOOD + content)
    assert time.process_time() - started < 2
    assert [network for _, network in own.networks] == [ip_network("192.0.2.0/24")]
    assert 1 <= len(faults) <= MAX_FAULTS + 2
    assert all(len(reason) < 400 for _, reason in faults)


def test_of_many_faults_some_are_named(tmp_path: Path) -> None:
    own, faults = loaded(tmp_path, b"x\n" * (MAX_FAULTS + 5) + GOOD)
    assert len(own.networks) == 1
    assert [where for where, _ in faults[:2]] == [f"{own.path}:1", f"{own.path}:2"]
    assert faults[MAX_FAULTS:] == [(str(own.path), "has 5 more lines that cannot be read; left out")]


def test_it_never_gets_more_lines_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 8)
    own, file = loaded(tmp_path, b"")[0], OwnFile()
    for last in range(20):
        key = own.add("deny", ip_network(f"192.0.2.{last % 3}"), None, None)
        assert key
        file.writing(own, tmp_path / module.NAME, [key], lambda: None)()
        again = OwnNetworks(tmp_path)
        assert again.load() == []
        assert again.networks.keys() == own.networks.keys()
