"""The configuration file's grammar, as mxallowd 1.9 reads it."""
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.errors import ConfigError
from mxallowd.settings import configfile


def read(content: bytes) -> tuple[list[tuple[str, str, str]], list[str]]:
    assignments, problems, _ = configfile.parse(content, "conf")
    return [(a.option.name, a.text, a.where) for a in assignments], [str(problem) for problem in problems]


def test_the_example_of_the_contract() -> None:
    content = b"stdout\nfake-mailserver 192.168.1.3\nfake-mailserver 192.168.1.4\n" \
              b"real-mailserver 192.168.1.5\nqueue-num 23\n"
    assert read(content) == ([
        ("stdout", "", "conf:1"),
        ("fake-mailserver", "192.168.1.3", "conf:2"),
        ("fake-mailserver", "192.168.1.4", "conf:3"),
        ("real-mailserver", "192.168.1.5", "conf:4"),
        ("queue-num", "23", "conf:5"),
    ], [])


@pytest.mark.parametrize("line", [
    b"QUEUE-NUM 23", b"Queue-Num\t 23", b"   queue-num 23", b"\tqueue-num 23\r", b"queue-num 23   ", b"queue-num 23"])
def test_case_white_space_and_line_ends_do_not_matter(line: bytes) -> None:
    assert read(line + b"\n") == ([("queue-num", "23", "conf:1")], [])


@pytest.mark.parametrize("line", [
    b"", b"\r", b"   ", b"# queue-num 23", b"  # queue-num", b"#", b"qn 23", b"x 1", b"}"])
def test_comments_empty_lines_and_short_names_are_ignored(line: bytes) -> None:
    assert read(line + b"\n") == ([], [])


def test_a_value_may_hold_blanks() -> None:
    assert read(b"pcap-filter  port 25 or port 587 \n")[0] == [("pcap-filter", "port 25 or port 587", "conf:1")]


@pytest.mark.parametrize("name", ["whitelist-color", "config", "help", "check", "version", "=foo"])
def test_an_unknown_name_is_a_warning_and_skipped(name: str) -> None:
    assert read(f"quiet\n{name} 5\nstdout\n".encode()) == (
        [("quiet", "", "conf:1"), ("stdout", "", "conf:3")],
        [f'conf:2: warning: unknown option "{name}", skipped'])


def test_a_flag_stands_alone_and_a_value_must_be_there() -> None:
    assert read(b"quiet no\nqueue-num\nquiet please\n") == ([], [
        'conf:1: quiet stands alone, but "no" follows; leave the line out to switch quiet off',
        'conf:2: "queue-num" needs a value', 'conf:3: quiet stands alone, but "please" follows'])


@pytest.mark.parametrize("word", ["yes", "on", "TRUE", "1"])
def test_a_yes_behind_a_flag_changes_nothing(word: str) -> None:
    assert read(f"stdout {word}\n".encode()) == (
        [("stdout", "", "conf:1")], [f'conf:1: warning: stdout stands alone; "{word}" is passed over'])


@pytest.mark.parametrize("line", [
    "real-mailserver 192.0.2.5 # main", "queue-num 23 #", "pid-file /run/x # y", "pcap-filter port 25 # y",
    "quiet # y", "real-mailserver 192.0.2.5\u00a0# main"])
def test_a_comment_behind_a_value_gets_a_hint(line: str) -> None:
    assignments, [problem] = read(line.encode())
    assert assignments == []
    assert problem.endswith("; a comment is a line of its own")
    assert "warning" not in problem


@pytest.mark.parametrize("line", ["pid-file = /run/x", "pid-file: /run/x", "pid-file :/run/x", "real-mailserver =::1"])
def test_a_sign_before_a_value_is_no_part_of_it(line: str) -> None:
    assignments, [problem] = read(line.encode())
    assert assignments == []
    assert "warning" not in problem


def test_lines_that_end_as_on_other_systems() -> None:
    """Behind a lone carriage return an editor shows a new line; the name behind it would be part of a comment."""
    for content in (b"# one\rreal-mailserver 192.0.2.5\n", b"quiet\rstdout\r\n"):
        assignments, [problem] = read(content)
        assert assignments == []
        assert "carriage return inside" in problem
    for encoding in ("utf-16", "utf-16-be"):
        mark = "" if encoding == "utf-16" else "\ufeff"
        assert read(f"{mark}stdout\n".encode(encoding)) == (
            [], ["conf:1: is text in UTF-16; save the file in UTF-8"])


def test_bytes_that_are_no_text_are_quoted() -> None:
    assert read(b"\xfd\x00frob\n")[1] == ['conf:1: warning: unknown option "\\xfd\\x00frob", skipped']


@given(st.binary(max_size=300))
def test_nothing_in_a_file_raises(content: bytes) -> None:
    for problem in read(content)[1]:
        assert problem.isprintable()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        configfile.read(tmp_path / "none")
    with pytest.raises(ConfigError, match=f'cannot read "{tmp_path}": Is a directory'):
        configfile.read(tmp_path)
    with pytest.raises(ConfigError, match="larger than"):
        configfile.read(Path("/dev/zero"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="it is a pipe"):
        configfile.read(fifo)


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert read(b"\xef\xbb\xbfstdout\n") == ([("stdout", "", "conf:1")], [])


def test_who_may_write_it_matters(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_bytes(b"stdout\n")
    link = tmp_path / "link"
    link.symlink_to(file)
    for mode in (0o400, 0o644, 0o664):
        file.chmod(mode)
        assert configfile.read(link)[0]
    file.chmod(0o646)
    for path in (file, link):
        with pytest.raises(ConfigError, match=f'will not read "{path}": everybody may write "{file}"; take that away'):
            configfile.read(path)
    # What is no file has no content of its own to be written.
    assert configfile.read(Path("/dev/null")) == ([], [], False)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_another_users_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_bytes(b"stdout\n")
    os.chown(file, 65533, 0)
    with pytest.raises(ConfigError, match=f'"{file}" belongs to the user with id 65533; let root own it'):
        configfile.read(file)


def test_a_file_at_rest_and_one_that_is_written(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    assert configfile.being_written(file) is None
    file.write_bytes(b"one")
    before = configfile.being_written(file)
    assert before is not None
    assert configfile.being_written(file) == before
    file.write_bytes(b"other")
    assert configfile.being_written(file) not in {None, before}
    # An hour old, and from an hour to come: nobody writes it now.
    for mtime in (file.stat().st_mtime - 3600, file.stat().st_mtime + 3600):
        os.utime(file, (mtime, mtime))
        assert configfile.being_written(file) is None
