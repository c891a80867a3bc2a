"""The file with the logins for the engine and its Sentinels: what it gives, and that no error shows a password."""
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.fleet.login import Login, Logins, parse, read
from mxallowd.lists.files import ListError


@pytest.mark.parametrize(("content", "found"), [
    (b"gateway s3cr3t\n", Logins(Login("gateway", "s3cr3t"))),
    (b"s3cr3t", Logins(Login(None, "s3cr3t"))),
    (b"# of the engine\n\n gateway\ts#cr3t \r\nsentinel-password\n",
     Logins(Login("gateway", "s#cr3t"), Login(None, "sentinel-password"))),
    ("gateway pässword".encode(), Logins(Login("gateway", "pässword"))),
])
def test_what_a_file_gives(content: bytes, found: Logins) -> None:
    assert parse(content, "login") == found


@pytest.mark.parametrize(("content", "says"), [
    (b"", "login: has no line USER PASSWORD"),
    (b"# nothing\n", "login: has no line USER PASSWORD"),
    (b"a\nuser s3 cr3t\n", "login:2: has 3 words; a login is USER PASSWORD, or PASSWORD"),
    (b"a b\na b\n# \na b\n", "login:4: is one line too many: the first is for the engine, the second for Sentinels"),
    (b"\xff\xfes3cr3t", "login:1: is no text in UTF-8"),
])
def test_a_line_that_is_no_login(content: bytes, says: str) -> None:
    with pytest.raises(ListError) as error:
        parse(content, "login")
    assert str(error.value) == says


def test_a_secret_that_everybody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "login"
    path.write_text("gateway s3cr3t\n", encoding="ascii")
    path.chmod(0o644)
    with pytest.raises(ListError, match="everybody may read this secret"):
        read(path, as_we_are=True)
    path.chmod(0o600)
    assert read(path, as_we_are=True).engine.password == "s3cr3t"
    path.unlink()
    with pytest.raises(ListError, match="cannot be read: No such file"):
        read(path, as_we_are=True)


def test_no_password_is_shown() -> None:
    found = Logins(Login("gateway", "s3cr3t"), Login(None, "s3cr3t"))
    assert "s3cr3t" not in repr(found) + str(found)
    assert "gateway" in repr(found)


@given(st.binary(max_size=200))
def test_any_content_is_taken_or_refused_without_showing_it(content: bytes) -> None:
    try:
        found = parse(content, "login")
    except ListError as error:
        words = [word for word in content.decode("utf-8", "replace").split() if len(word) > 20]
        assert not any(word in str(error) for word in words)
    else:
        assert found.engine.password
