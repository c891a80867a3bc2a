"""The file of trusted senders' answers: it comes back as it was written, and damage trusts nobody more."""
import random
import struct
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from mxallowd.mirrors.disk import trusted
from mxallowd.mirrors.disk.blocks import Clock, Kind
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.files import write_whole
from mxallowd.trust.answers import Answer, records_of

MOMENT = Clock(bytes(16), 1_000_000, 1_800_000_000_000_000)
FEW = Answer(records_of([ip_network("192.0.2.0/24"), ip_network("2001:db8::/48")]), 1_800_000_000, 7200)
MANY = Answer(records_of(ip_network(f"10.{number >> 8}.{number & 255}.0/25") for number in range(4096)), 5, 3600)
ANSWERS = {"example.org": FEW, "large.example": MANY, "_spf.example.net": FEW._replace(life_s=86_400),
           "chains.example": FEW._replace(chains=((1, ""), (1, "a.example, b.example")))}


def write(directory: Directory, answers: dict[str, Answer]) -> int:
    return trusted.write(directory, lambda: MOMENT, answers)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "state", None)
    with pytest.raises(FileNotFoundError):
        trusted.read(directory)
    assert write(directory, ANSWERS) < 100_000
    assert trusted.read(directory) == (ANSWERS, None)
    write(directory, {})
    assert trusted.read(directory) == ({}, None)
    assert directory.names() == ["trusted"]
    directory.close()


def test_what_is_damaged_is_left_out_and_said(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "state", None)
    write(directory, ANSWERS)
    path = tmp_path / "state" / "trusted"
    whole, chance = path.read_bytes(), random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        found, damage = trusted.read(directory)
        assert damage is not None
        # Damage to what explain says of its networks costs that alone.
        assert all(answer in (ANSWERS[domain], ANSWERS[domain]._replace(chains=())) for domain, answer in found.items())
    directory.close()


@pytest.mark.parametrize("answers", [
    {"example.org": FEW._replace(life_s=10**9)}, {"example.org": FEW._replace(records=b"")},
    {"Example.org": FEW}, {"nodot": FEW}, {"example.org": FEW._replace(records=records_of([ip_network("0.0.0.0/0")]))},
    {"example.org": FEW._replace(records=bytes(16) + b"\xff\x00")},
    {"example.org": FEW._replace(records=b"\x01" * 18)}])
def test_what_could_not_have_been_believed_is_not(tmp_path: Path, answers: dict[str, Answer]) -> None:
    directory = Directory(tmp_path / "state", None)
    write(directory, answers)
    assert trusted.read(directory)[0] == {}
    directory.close()


def test_a_file_that_somebody_made_costs_no_time(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "state", None)
    huge = FEW._replace(records=records_of([ip_network("192.0.2.1")]) * 200_000)
    many = {f"d{number}.example": FEW for number in range(trusted.MOST_ANSWERS + 9)}
    odd = FEW._replace(chains=(("1" * 5000, "x"),))  # type: ignore[arg-type]
    size = write(directory, {"huge.example": huge, "odd.example": odd, **many})
    assert size > 3_600_000
    started = time.process_time()
    found, damage = trusted.read(directory)
    assert time.process_time() - started < 1
    # What is wrong with the words about an answer costs these alone.
    assert found == {"odd.example": FEW} | {f"d{number}.example": FEW for number in range(trusted.MOST_ANSWERS - 1)}
    assert damage == (0, "11 answers in it are not whole")
    directory.close()


@pytest.mark.parametrize("part", [b"", bytes(7), bytes(18 * 3)])
def test_pieces_that_do_not_fit_are_no_answer(tmp_path: Path, part: bytes) -> None:
    directory = Directory(tmp_path / "state", None)
    head = struct.pack("=qIIIB", 5, 3600, 2, 0, 9)
    write_whole(directory, "trusted", lambda: MOMENT, iter([(Kind.TRUSTED, head + b"a.example" + part)]))
    assert trusted.read(directory) == ({}, (0, "1 answers in it are not whole"))
    directory.close()


def test_blocks_of_another_kind_are_no_answers(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "state", None)
    write_whole(directory, "trusted", lambda: MOMENT, iter([(Kind.TRUSTED, b"short"), (Kind.HOSTS, bytes(320))]))
    assert trusted.read(directory)[0] == {}
    directory.close()
