"""The file of the history: what is written comes back or is missing, whatever befalls the file and the process."""
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path

import pytest

from mxallowd.console import archive
from mxallowd.console.archive import COARSE_S, FINE_S, MOST_BYTES, MOST_ROWS, PRUNED_EVERY, Archive

BEGIN = 1_700_000_400  # a coarse step begins here
FOREVER = 1 << 40


@contextmanager
def opened(path: Path | None, said: list[str] | None = None) -> Iterator[Archive]:
    made = Archive(path, (said if said is not None else []).append)
    try:
        yield made
    finally:
        made.close()


def told(made: Archive, step: int = FINE_S) -> dict[int, dict[str, float]]:
    return {row.time: dict(zip(row.names, row.values, strict=True)) for row in made.rows(step, 0, FOREVER)}


def fill(made: Archive, count: int, begin: int = BEGIN) -> dict[int, dict[str, float]]:
    for index in range(count):
        made.add(begin + FINE_S * index, {"a": index / 2, "b": float(index % 7)})
    return {begin + FINE_S * index: {"a": index / 2, "b": float(index % 7)} for index in range(count)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def test_it_survives_a_restart_and_no_one_else_reads_it(path: Path) -> None:
    with opened(path) as made:
        expected = fill(made, 10)
    with opened(path) as made:
        assert told(made) == expected
        assert list(told(made).values()) == list(expected.values())
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_unknown_stays_so(path: Path) -> None:
    with opened(path) as made:
        made.add(BEGIN, {"a": None, "b": 0.0})
        assert isnan(told(made)[BEGIN]["a"])
        assert told(made)[BEGIN]["b"] == 0


def test_coarse_steps_are_means_and_are_made_after_a_restart_too(path: Path) -> None:
    with opened(path) as made:
        made.add(BEGIN, {"a": 1.0, "old": 5.0})
        made.add(BEGIN + FINE_S, {"a": 3.0})
        assert told(made, COARSE_S) == {}
    with opened(path) as made:
        made.add(BEGIN + 3 * COARSE_S, {"a": 9.0})
        assert told(made, COARSE_S) == {BEGIN: {"a": 2.0, "old": 5.0}}


def test_a_time_that_comes_again_takes_the_place_of_the_first_one(path: Path) -> None:
    """As after a step of the clock."""
    with opened(path) as made:
        fill(made, 5)
        made.add(BEGIN + FINE_S, {"c": 8.0})
        assert told(made)[BEGIN + FINE_S] == {"c": 8.0}
        assert len(told(made)) == 5


def test_rows_and_bytes_have_bounds_and_the_future_goes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_ROWS", {FINE_S: 100, COARSE_S: 2})
    with opened(path) as made:
        # A clock that was years ahead for a while.
        fill(made, 30, BEGIN + (1 << 28))
        fill(made, 400)
        rows = told(made)
        assert 100 <= len(rows) <= 100 + PRUNED_EVERY
        assert max(rows) == BEGIN + FINE_S * 399
        assert len(told(made, COARSE_S)) <= 2 + PRUNED_EVERY * FINE_S // COARSE_S + 1


def test_a_day_and_a_month_are_a_few_mebibytes(path: Path) -> None:
    assert MOST_ROWS == {FINE_S: 8640, COARSE_S: 4320}
    names = {f"plot.line-{index}": 1.5 for index in range(40)}
    with opened(path) as made:
        for index in range(2000):
            made.add(BEGIN + FINE_S * index, names)
        size = sum(one.stat().st_size for one in path.parent.iterdir())
    assert size / 2000 * sum(MOST_ROWS.values()) < MOST_BYTES / 2


def test_names_of_another_release_stay_with_their_rows(path: Path) -> None:
    with opened(path) as made:
        made.add(BEGIN, {"gone": 1.0})
        made.add(BEGIN + FINE_S, {"new": 2.0})
    with opened(path) as made:
        assert told(made) == {BEGIN: {"gone": 1.0}, BEGIN + FINE_S: {"new": 2.0}}


def test_a_kill_loses_nothing_that_was_written(path: Path) -> None:
    script = ("import sys; from pathlib import Path; from mxallowd.console.archive import Archive\n"
              "made = Archive(Path(sys.argv[1]), print)\n"
              f"for index in range(100_000):\n    made.add({BEGIN} + 10 * index, {{'a': index}})\n"
              "    print(index, flush=True)")
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= 150:
                    os.kill(process.pid, signal.SIGKILL)
                    break
        said: list[str] = []
        with opened(path, said) as made:
            rows = told(made)
            assert all(rows[BEGIN + FINE_S * index] == {"a": index} for index in range(150))
            assert said == []


@pytest.mark.parametrize("seed", range(4))
def test_damage_costs_values_and_makes_none_wrong(path: Path, tmp_path: Path, seed: int) -> None:
    """Bytes that changed, pages of zeros, files that were cut: a row is as it was written, or it is missing."""
    chance = random.Random(seed)
    with opened(path) as made:
        expected = fill(made, 300)
        # The file and its log together, as a kill leaves them.
        shutil.copytree(tmp_path, tmp_path / "whole")
    lost = 0
    for turn in range(25):
        place = tmp_path / f"turn{turn}"
        shutil.copytree(tmp_path / "whole", place)
        hurt = chance.choice(sorted(place.iterdir()))
        data = bytearray(hurt.read_bytes())
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                for _ in range(8):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + 4096] = bytes(len(data[at : at + 4096]))
            case _:
                del data[at:]
        hurt.write_bytes(data)
        with opened(place / path.name) as made:
            found = told(made)
            assert found.items() <= expected.items() if found else True
            lost += len(expected) - len(found)
            made.add(BEGIN + 10_000_000, {"a": 7.0})
            assert told(made)[BEGIN + 10_000_000] == {"a": 7.0}
    assert lost  # the harness does damage


def test_a_value_that_was_changed_by_hand_is_left_out_and_told(path: Path) -> None:
    with opened(path) as made:
        fill(made, 3)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE points SET data = zeroblob(length(data)) WHERE time = ?", (BEGIN + FINE_S,))
    other.close()
    said: list[str] = []
    with opened(path, said) as made:
        assert set(told(made)) == {BEGIN, BEGIN + 2 * FINE_S}
        told(made)
    assert said == ["a part of the history is damaged, and left out"]


@pytest.mark.parametrize("kind", ["no database", "other version"])
def test_a_file_that_is_none_of_ours_is_set_aside(path: Path, kind: str) -> None:
    if kind == "no database":
        path.write_bytes(b"my letters, which nobody wants to lose\n" * 200)
    else:
        with sqlite3.connect(path) as other:
            other.executescript("CREATE TABLE points (x); PRAGMA user_version = 9;")
        other.close()
    before = path.read_bytes()
    said: list[str] = []
    with opened(path, said) as made:
        expected = fill(made, 2)
        assert told(made) == expected
    assert len(said) == 1
    assert f"set aside as {path}.damaged" in said[0]
    assert path.with_name(path.name + ".damaged").read_bytes() == before


def test_where_no_file_can_be_it_is_in_memory(path: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with opened(tmp_path / "nowhere" / "file", said) as made:
        assert told(made) == {}
        expected = fill(made, 2)
        assert told(made) == expected
    assert len(said) == 1
    assert "in memory only" in said[0]
    # A link is followed nowhere, and what another console has open is left alone.
    (tmp_path / "link").symlink_to(tmp_path / "aim")
    with opened(tmp_path / "link", said) as made:
        assert "in memory only" in said[1]
    assert not (tmp_path / "aim").exists()
    with opened(path) as first, opened(path, said) as second:
        expected = fill(first, 2)
        fill(second, 9)
        assert told(first) == expected
    assert "in memory only" in said[2]


def test_a_full_disk_makes_rows_wait_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 6 * archive.PAGE)
    said: list[str] = []
    names = {f"name-{index}": 1.0 for index in range(150)}
    with opened(path, said) as made:
        for index in range(60):
            made.add(BEGIN + FINE_S * index, names)
        assert len(told(made)) == 60
        assert said == ["the history cannot be written, and waits in memory: database or disk is full"]
        made._db.execute("PRAGMA max_page_count = 1000")
        made.add(BEGIN + FINE_S * 60, names)
        assert said[1:] == [""]
    with opened(path) as made:
        assert len(told(made)) == 61
