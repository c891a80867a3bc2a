"""The file of trusted senders: what a line may hold, what is wrong with it and where."""
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mxallowd.lists.composition import network_of
from mxallowd.lists.files import Fault, ListError
from mxallowd.trust import lines
from mxallowd.trust.lines import TrustLine, parse, read

FILE = "trust.conf"


def faults(content: bytes) -> list[Fault]:
    with pytest.raises(ListError) as raised:
        parse(content, FILE)
    return raised.value.faults


def test_each_kind_of_line() -> None:
    found = parse(
        b"# people\n\nspf Example.ORG.\nspf _spf.example.com first-mx-only # the shop\n"
        b"dnswl list.dnswl.org\ndnswl wl.example 2 first-mx-only\r\n"
        b"\tnetwork  192.0.2.0/24\nnetwork 2001:db8::1 first-mx-only\ndomain mx.example.net", FILE)
    assert [(line.number, line.text, line.score, line.first_mx_only, line.note) for line in found] == [
        (3, "spf example.org", 0, False, None), (4, "spf _spf.example.com", 0, True, "the shop"),
        (5, "dnswl list.dnswl.org 0", 0, False, None), (6, "dnswl wl.example 2", 2, True, None),
        (7, "network 192.0.2.0/24", 0, False, None), (8, "network 2001:db8::1", 0, True, None),
        (9, "domain mx.example.net", 0, False, None)]
    assert [str(network_of(line.record)) for line in found if line.record] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert found[0].where == "trust.conf:3"
    assert TrustLine("a\nb", 1, "spf", "example.org").where == "a\\x0ab:1"


@pytest.mark.parametrize(("line", "reason"), [
    ("spff example.org", '"spff" is none of spf, dnswl, network, domain'),
    ("SPF example.org", '"SPF" is none of spf, dnswl, network, domain'),
    ("spf", '"spf" lacks a domain'), ("domain", '"domain" lacks a domain'), ("dnswl", '"dnswl" lacks a zone'),
    ("network first-mx-only", '"network first-mx-only" lacks a network or an address'),
    ("spf example", '"example" is no domain name'), ("spf 192.0.2.1", '"192.0.2.1" is no domain name'),
    ("spf a..example.org", '"a..example.org" is no domain name'),
    ("spf m\u00fcller.example", '"m\u00fcller.example" is no domain name'),
    ("spf a.example b.example",
     '"b.example" is too much behind "spf a.example"; only first-mx-only may stand there'),
    ("spf a.example first-mx-only x",
     '"first-mx-only x" is too much behind "spf a.example"; only first-mx-only may stand there'),
    ("dnswl list.example 4", '"4" is no score from 0 to 3'), ("dnswl list.example -1", '"-1" is no score from 0 to 3'),
    ("dnswl list.example \u0663", '"\u0663" is no score from 0 to 3'),
    ("network 192.0.2.1/24", '"192.0.2.1/24" has bits behind its prefix; the network is 192.0.2.0/24'),
    ("network mail.example.org", '"mail.example.org" is neither a network nor an address'),
    ("domain co.uk", '"co.uk" is a public suffix: anybody can have a name below it'),
    ("domain github.io", '"github.io" is a public suffix: anybody can have a name below it'),
    ("spf \x1b[2J", '"\\x1b[2J" is no domain name')])
def test_what_is_wrong_is_quoted_with_its_line(line: str, reason: str) -> None:
    assert faults(f"spf example.org\n# x\n{line}\n".encode()) == [Fault("trust.conf:3", reason)]


def test_what_is_shipped_can_be_read() -> None:
    path = Path(__file__).parent.parent / "packaging" / "trusted-senders"
    assert len(parse(path.read_bytes(), str(path))) > 30


def test_the_same_twice_is_a_fault() -> None:
    assert faults(b"spf example.org\nspf EXAMPLE.org first-mx-only\n") == [
        Fault("trust.conf:2", '"spf example.org" stands in line 1 already')]
    assert len(parse(b"spf example.org\ndomain example.org\n", FILE)) == 2


def test_bytes_that_are_no_text() -> None:
    assert faults(b"spf \xff\xfe.example\n") == [Fault("trust.conf:1", '"\\xff\\xfe.example" is no domain name')]
    assert "UTF-16" in faults("spf example.org\n".encode("utf-16"))[0].reason


def test_all_faults_up_to_a_bound() -> None:
    assert [fault.where for fault in faults(b"no\n" * 1000)] == [f"trust.conf:{number}" for number in range(1, 21)]


def test_more_lines_than_are_asked_for() -> None:
    written = [f"dnswl list{number}.example\n" for number in range(lines.MOST["dnswl"] + 1)]
    assert len(parse("".join(written[:-1]).encode(), FILE)) == lines.MOST["dnswl"]
    assert faults("".join(written).encode()) == [Fault("trust.conf:9", "is one more than 8 lines dnswl")]


def test_a_file_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    path.write_text("spf example.org\n", "utf-8")
    assert [line.text for line in read(path, as_we_are=True)] == ["spf example.org"]
    path.chmod(0o666)
    with pytest.raises(ListError, match="is not read"):
        read(path, as_we_are=True)
    path.unlink()
    odd: list[tuple[Callable[[], object], str]] = [
            (lambda: None, "No such file"), (path.mkdir, "Is a directory"), (lambda: os.mkfifo(path), "is no regular"),
            (lambda: path.symlink_to(path), "Too many levels of symbolic links"),
            (lambda: path.write_bytes(os.urandom(lines.MAX_BYTES + 1)), "is larger than 4 MiB"),
            (lambda: path.write_bytes(b"\0" * 5000), "is no"),
            (lambda: path.write_bytes(b"\xff\x00\x1b[2J\n" * 9), r'"\\xff\\x00\\x1b\[2J" is none of spf')]
    for made, reason in odd:
        made()
        with pytest.raises(ListError, match=reason):
            read(path, as_we_are=True)
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def test_many_lines_without_a_word_let_others_go_on() -> None:
    paused = list[None]()
    assert parse(b"#\n" * 100_000 + b"spf example.org", FILE, lambda: paused.append(None))[0].number == 100_001
    assert len(paused) == 100_000 // 200
