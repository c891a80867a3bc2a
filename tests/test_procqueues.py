"""The kernel's table of queues: whose packets it counts, and what it is when there is none."""
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxallowd.backends import procqueues
from mxallowd.backends.procqueues import ProcQueues


def row(number: int, queue_dropped: int = 0, user_dropped: int = 0) -> str:
    """A line as net/netfilter/nfnetlink_queue.c writes it."""
    return f"{number:5} {31337:6} {3:5} {2:1} {60:5} {queue_dropped:5} {user_dropped:5} {99:8} {1:2}\n"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of the kernel's."""
    path = tmp_path / "nfnetlink_queue"
    path.write_text(row(23) + row(24))
    monkeypatch.setattr(procqueues, "PROC_QUEUES", path)
    return path


@pytest.fixture
def queues(table: Path) -> Iterator[ProcQueues]:
    """What the back end opens."""
    made = ProcQueues()
    yield made
    made.close()


def test_rows(queues: ProcQueues) -> None:
    assert queues.rows() == [[23, 31337, 3, 2, 60, 0, 0, 99, 1], [24, 31337, 3, 2, 60, 0, 0, 99, 1]]


def test_what_was_dropped_is_summed_for_these_queues_alone(table: Path, queues: ProcQueues) -> None:
    assert queues.drops(range(23, 24)) == 0
    table.write_text(row(23, 2, 3) + row(24, 100, 100))
    assert queues.drops(range(23, 24)) == 5
    table.write_text(row(23, 2, 4) + row(24, 100, 100))
    assert queues.drops(range(23, 24)) == 6
    assert queues.drops(range(23, 25)) == 206
    queues.close()
    assert queues.rows() == []
    assert queues.drops(range(23, 25)) == 206


def test_the_kernels_counters_have_32_bits(table: Path, queues: ProcQueues) -> None:
    table.write_text(row(23, (1 << 32) - 2))
    assert queues.drops(range(23, 24)) == (1 << 32) - 2
    table.write_text(row(23, 5))
    assert queues.drops(range(23, 24)) == (1 << 32) + 5


def test_a_row_that_is_cut_counts_nothing(table: Path, queues: ProcQueues) -> None:
    table.write_text("   23  31337     3 2    60\n\n")
    assert queues.drops(range(23, 24)) == 0


def test_without_the_file_there_are_no_queues(table: Path) -> None:
    table.unlink()
    queues = ProcQueues()
    assert queues.rows() == []
    assert queues.drops(range(65536)) == 0


def test_a_namespace_that_is_gone_has_no_queues(queues: ProcQueues, monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(*_: object) -> bytes:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("mxallowd.backends.procqueues.os.pread", fail)
    assert queues.rows() == []
