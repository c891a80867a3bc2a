"""List files: what they may hold, what is wrong with them and where, and files that move while they are read."""
import os
import time
from pathlib import Path

import pytest

from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.lists import files
from mxallowd.lists.composition import Composition, network_of
from mxallowd.lists.files import Fault, ListError, parse, read
from mxallowd.settings import values
from tests.strategies import packed


def texts(content: bytes) -> list[str]:
    source = parse(content, "x.list", "allow")
    return [str(network_of(source.records[at : at + RECORD_SIZE]))
            for at in range(0, len(source.records), RECORD_SIZE)]


@pytest.mark.parametrize(("line", "network"), [
    (b"192.0.2.0/24", "192.0.2.0/24"), (b"192.0.2.7", "192.0.2.7/32"), (b"0.0.0.0/0", "0.0.0.0/0"),
    (b"2001:DB8::/32", "2001:db8::/32"), (b"2001:db8::1", "2001:db8::1/128"), (b"::/0", "::/0"),
    (b"\t 192.0.2.7 \t", "192.0.2.7/32"), (b"192.0.2.7#x", "192.0.2.7/32"), (b"192.0.2.7\r", "192.0.2.7/32"),
    (b"::ffff:192.0.2.0/120", "192.0.2.0/24"), (b"::ffff:192.0.2.9", "192.0.2.9/32"),
    (b"10.0.0.0/255.0.0.0", "10.0.0.0/8"), (b"\xef\xbb\xbf192.0.2.7", "192.0.2.7/32")])
def test_what_a_line_may_hold(line: bytes, network: str) -> None:
    assert texts(line) == texts(line + b"\n") == texts(line + b"\n\n  \n#\n") == [network]


@pytest.mark.parametrize(("line", "reason"), [
    (b"192.0.2.1/24", '"192.0.2.1/24" has bits behind its prefix; the network is 192.0.2.0/24'),
    (b"::ffff:192.0.2.1/120", '"::ffff:192.0.2.1/120" has bits behind its prefix; the network is 192.0.2.0/24'),
    (b"2001:db8::1/64", '"2001:db8::1/64" has bits behind its prefix; the network is 2001:db8::/64'),
    (b"192.0.2.0/33", '"192.0.2.0/33" is neither a network nor an address'),
    (b"192.0.2.0/", '"192.0.2.0/" is neither a network nor an address'),
    (b"010.0.0.1", '"010.0.0.1" is neither a network nor an address'),
    (b"192.0.2.0 192.0.2.1", '"192.0.2.0 192.0.2.1" is neither a network nor an address'),
    (b"mail.example", '"mail.example" is neither a network nor an address'),
    (b"fe80::1%eth0", '"fe80::1%eth0" has a zone; packets carry none, so give the address alone'),
    (b"\xff\x1b[2J", '"\\xff\\x1b[2J" is neither a network nor an address')])
def test_what_is_wrong_is_said_with_its_line(line: bytes, reason: str) -> None:
    with pytest.raises(ListError) as raised:
        parse(b"192.0.2.7\n# x\n" + line + b"\n", "x.list", "deny")
    assert raised.value.faults == [Fault("x.list:3", reason)]
    assert str(raised.value) == f"x.list:3: {reason}"


def test_all_that_is_wrong_is_said_up_to_a_bound() -> None:
    with pytest.raises(ListError) as raised:
        parse(b"no\n" * 1000, "x.list", "deny")
    assert [fault.where for fault in raised.value.faults] == [f"x.list:{line}" for line in range(1, 21)]


def test_text_in_utf_16_is_told_apart() -> None:
    with pytest.raises(ListError, match="UTF-16"):
        parse("192.0.2.7\n".encode("utf-16"), "x.list", "deny")


def test_comments_are_notes() -> None:
    content = (b"# Partners\n192.0.2.1\n192.0.2.2 # the bank \r\n192.0.2.3\n\n192.0.2.4\n#\n192.0.2.5\n"
               b"192.0.2.6 # \xff\x1b\n")
    composed = Composition.of([parse(content, "/etc/x.list", "allow")])
    found = [composed.find(packed(f"192.0.2.{last}")) for last in range(1, 7)]
    assert [(one.where, one.note) for one in found if one] == [
        ("/etc/x.list:2", "Partners"), ("/etc/x.list:3", "the bank"), ("/etc/x.list:4", "Partners"),
        ("/etc/x.list:6", None), ("/etc/x.list:8", None), ("/etc/x.list:9", "\\xff\\x1b")]


def test_of_equal_lines_the_first_is_named() -> None:
    composed = Composition.of([parse(b"192.0.2.0/24 # a\n192.0.2.0/24 # b\n", "x", "allow")])
    match = composed.find(packed("192.0.2.9"))
    assert match is not None
    assert (match.line, match.note) == (1, "a")


def test_a_list_has_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "MAX_NETWORKS", 3)
    with pytest.raises(ListError, match="x:4: is one more than the 3 networks"):
        parse(b"192.0.2.1\n" * 4, "x", "allow")
    monkeypatch.setattr(files, "MAX_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ListError, match="larger than 1 MiB"):
        read(old(tmp_path / "large"), "allow")


def old(path: Path) -> Path:
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    begun = time.monotonic()
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ListError, match="no regular file"):
            read(path, "allow")
    with pytest.raises(ListError, match="cannot be read: Is a directory"):
        read(tmp_path, "allow")
    with pytest.raises(ListError, match="cannot be read: No such file"):
        read(tmp_path / "none", "allow")
    assert time.monotonic() - begun < 1


def test_a_file_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text("192.0.2.1\n", encoding="utf-8")
    path.chmod(0o666)
    with pytest.raises(ListError, match="is not read: "):
        read(path, "allow")


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text("192.0.2.1\n", encoding="utf-8")
    more = ["192.0.2.2\n", "192.0.2.3\n"]

    def write_on(_: float) -> None:
        if more:
            with path.open("a", encoding="utf-8") as file:
                file.write(more.pop(0))
    assert len(read(path, "allow", sleep=write_on)) == 3
    assert len(read(old(path), "allow", sleep=lambda _: pytest.fail("it is at rest"))) == 3


def test_a_file_that_is_always_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text("192.0.2.1\n", encoding="utf-8")

    def write_on(_: float) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write("192.0.2.1\n")
    with pytest.raises(ListError, match="still being written"):
        read(path, "allow", sleep=write_on)


def test_a_large_file_lets_others_run(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    path.write_text("".join(f"10.{i >> 8 & 255}.{i & 255}.0/24 # n{i}\n" for i in range(60_000)), encoding="utf-8")
    pauses: list[float] = []
    assert len(read(old(path), "allow", gently=True, sleep=pauses.append)) == 60_000
    assert len(pauses) == 300


def test_a_file_whose_name_begins_with_dots_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As --allow, --deny and the configuration have it; what looks like a network is told to be written so."""
    monkeypatch.setattr(values, "START_DIRECTORY", tmp_path / "a")
    for text in ("./dup", "../a/dup", "../dup/24", "./192.0.2.0", "../2001:db8::/x", "dup"):
        assert values.list_source(text) == tmp_path / "a" / text
    for text in ("192.0.2", "192.0.2.0/33", "dead:/x"):
        with pytest.raises(ValueError, match=r"a file of this name is written as \./NAME"):
            values.list_source(text)
