"""Key files of the fleet, and that no key gets out."""
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.fleet.keys import KEY_SIZE, Key, Keys, new_key, parse, read
from mxallowd.lists.files import ListError

A, B = "0f" * 32, "Ab" * 32


def test_a_new_key_is_a_line_of_a_key_file() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert len(bytes.fromhex(first)) == KEY_SIZE
    keys = parse(f"# of the site\n\n  {first}  # mx1\r\n{second}\n".encode(), "k", "example")
    assert keys.numbers() == [Key(bytes.fromhex(one), "example").number.hex() for one in (first, second)]
    assert keys.first.number.hex() == keys.numbers()[0]


def test_a_number_is_the_same_everywhere_and_hides_its_key() -> None:
    keys = parse(A.encode(), "k", "example")
    assert keys.numbers() == ["66c02cb4"]
    assert parse(A.upper().encode(), "k", "other").numbers() == keys.numbers()


@pytest.mark.parametrize(("content", "said"), [
    ("", "k: has no key; mxallowctl fleet key makes one"),
    ("# nothing\n", "k: has no key; mxallowctl fleet key makes one"),
    (f"\n{A[1:]}\n", "k:2: is no key: a key is 64 hexadecimal digits, this line has 63 characters"),
    (f"{A} {B}\n", "k:1: is no key: a key is 64 hexadecimal digits, this line has 129 characters"),
    (f"x{A[1:]}\n", "k:1: is no key: a key is 64 hexadecimal digits, this has others"),
    ("\u00e9" * 32 + "\n", "k:1: is no key: a key is 64 hexadecimal digits, this has others"),
    (f"{A}\n{B}\n{A}\n", "k:3: is one key too many: the first seals, the second is for a change of keys"),
    (f"{A}\n{A.upper()}\n", "k: the second key is the first one once more"),
    ("0" * 64, "k:1: is no key: it has zeros alone; mxallowctl fleet key makes one"),
])
def test_what_is_wrong_is_said_in_one_line_without_the_key(content: str, said: str) -> None:
    with pytest.raises(ListError) as raised:
        parse(content.encode(), "k", "example")
    assert str(raised.value) == said
    assert A[1:] not in str(raised.value)


@given(st.binary(max_size=200) | st.from_regex(rb"([0-9A-Fa-f]{64}|#.*|)(\n([0-9A-Fa-f]{64}|))*", fullmatch=True))
def test_any_content_is_taken_or_refused_in_one_way(content: bytes) -> None:
    try:
        keys = parse(content, "k", "example")
    except ListError as error:
        assert str(error).isprintable()
    else:
        assert 1 <= len(keys.numbers()) <= 2
    with pytest.raises(ListError):
        parse(b"?" + content, "k", "example")


def test_a_key_shows_itself_nowhere() -> None:
    keys = parse(f"{A}\n{B}".encode(), "k", "example")
    shown = f"{keys} {keys!r} {keys.first} {keys.first!r} {vars(keys)} {vars(keys.first)} {keys.numbers()}"
    assert A not in shown.lower()
    assert str(bytes.fromhex(A)) not in shown


@pytest.mark.parametrize(("secrets", "site"), [
    ([], "example"), ([b"x" * 31], "example"), ([b"x" * 32, b"y" * 32, b"z" * 32], "example"),
    ([b"x" * 32], ""), ([b"x" * 32], "a" * 33), ([b"x" * 32], "a b"), ([b"x" * 32] * 2, "example")])
def test_what_is_no_key_of_a_site(secrets: list[bytes], site: str) -> None:
    with pytest.raises(ValueError, match=r"a site|once more"):
        Keys(secrets, site)


def test_a_file_that_everybody_may_read_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(A + "\n")
    os.utime(path, (1, 1))
    path.chmod(0o640)
    assert read(path, "example", as_we_are=True).numbers() == ["66c02cb4"]
    path.chmod(0o644)
    with pytest.raises(ListError, match=r"everybody may read this secret \(chmod o-r\)"):
        read(path, "example", as_we_are=True)


def test_a_file_that_is_not_there_and_one_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="No such file"):
        read(tmp_path / "none", "example", as_we_are=True)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path, says in ((fifo, "is no regular file"), (Path("/dev/zero"), "is no regular file"),
                       (tmp_path, "Is a directory")):
        with pytest.raises(ListError, match=says):
            read(path, "example", as_we_are=True)
    large = tmp_path / "large"
    large.write_bytes(bytes((64 << 10) + 1))
    os.utime(large, (1, 1))
    large.chmod(0o600)
    with pytest.raises(ListError, match="is larger than 64 KiB"):
        read(large, "example", as_we_are=True)
