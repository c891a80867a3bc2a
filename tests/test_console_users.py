"""Who may log in: the lines of the file, what is wrong with them, hashes, and a file that changes."""
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.console import users
from mxallowd.console.users import Line, Users, hashed, matches, parsed, user_of
from mxallowd.console.visit import Role

# A hash of "correct horse", as hashed() made it once: what stands in files stays valid.
OLD = "scrypt$32768$8$1$AAECAwQFBgcICQoLDA0ODw==$XGYmKKxOsQaKKH4qoqICriSOmNsE1h0zJ+c0LbbscJc="


@pytest.fixture(scope="module")
def secret() -> str:
    return hashed("correct horse")


def test_a_password_fits_its_own_line_alone(secret: str) -> None:
    user = user_of(f"anna:change:{secret}")
    assert (user.name, user.role) == ("anna", Role.CHANGE)
    assert matches(user, "correct horse")
    assert not matches(user, "correct horsf")
    assert not matches(None, "correct horse")
    assert hashed("correct horse") != secret  # each has a salt of its own
    assert "horse" not in secret and secret not in repr(user)


def test_what_stands_in_files_stays_valid() -> None:
    assert matches(user_of(f"anna:look:{OLD}"), "correct horse")


def test_a_letter_is_the_same_however_a_device_types_it() -> None:
    user = user_of("anna:look:" + hashed("gr\u00fcner tee"))
    assert matches(user, "gru\u0308ner tee")


@pytest.mark.parametrize("password", ["", "\udcff\ud800", "x" * 70_000, "\0"])
def test_no_password_is_a_fault(secret: str, password: str) -> None:
    assert not matches(user_of(f"anna:look:{secret}"), password)


@pytest.mark.parametrize(("line", "why"), [
    ("anna", 'the role of anna is ""'),
    ("anna:admin:HASH", 'the role of anna is "admin"'),
    ("an na:look:HASH", '"an na" is no name of a user'),
    ("<b>:look:HASH", '"<b>" is no name of a user'),
    (f"{'a' * 33}:look:HASH", "is no name of a user"),
    ("anna:look:secret", "the password of anna cannot be read"),
    ("anna:look:HASH:more", "the password of anna cannot be read"),
    ("anna:look:" + OLD.replace("$8$", "$99$"), "the hash of anna has parameters that are not taken"),
    ("anna:look:" + OLD.replace("32768", "1024"), "the hash of anna has parameters that are not taken"),
    ("anna:look:" + OLD.replace("32768", "32769"), "the hash of anna has parameters that are not taken"),
    ("anna:look:" + OLD.replace("32768", "262144"), "the hash of anna has parameters that are not taken"),
    ("anna:look:" + OLD.replace("AAECAwQFBgcICQoLDA0ODw==", "AAEC"), "the hash of anna has parameters"),
    ("anna:look:" + OLD.replace("AAECAwQFBgcICQoLDA0ODw==", "AAECA"), "the hash of anna has parameters"),
])
def test_a_line_that_cannot_be_used_says_why(line: str, why: str, secret: str) -> None:
    with pytest.raises(Line, match=r"\A" + why if why[0] == '"' else why) as fault:
        user_of(line.replace("HASH", secret))
    assert secret.rpartition("$")[2] not in str(fault.value)


@given(st.text(max_size=300))
def test_no_text_is_a_fault_of_the_reader(text: str) -> None:
    found, faults = parsed(text)
    assert not found
    assert all(fault.isprintable() for _, fault in faults)


def test_comments_stay_out_and_the_first_of_two_lines_counts() -> None:
    text = f"# who may\n\n  anna:look:{OLD}\nbert:change:{OLD}\nanna:change:{OLD}\n"
    found, faults = parsed(text)
    assert {name: user.role for name, user in found.items()} == {"anna": Role.LOOK, "bert": Role.CHANGE}
    assert faults == [(5, 'there is a line for "anna" before it, which counts')]


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(users, "MOST", 2)
    monkeypatch.setattr(users, "LARGEST", 1 << 10)
    found, faults = parsed("".join(f"u{number}:look:{OLD}\n" for number in range(4)))
    assert list(found) == ["u0", "u1"]
    assert [number for number, _ in faults] == [3, 4]
    told: list[str] = []
    path = tmp_path / "users"
    path.write_text("#" * 2000, encoding="ascii")
    Users(path, told.append).refresh()
    assert len(told) == 1 and "it is longer than" in told[0]


def test_a_changed_file_counts_at_once_and_a_fault_is_said_once(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "users"
    known = Users(path, told.append)
    for _ in range(2):
        known.refresh()
    assert not known.names and len(told) == 1 and "No such file or directory" in told.pop()
    path.write_text(f"anna:look:{OLD}\nnonsense\n", encoding="ascii")
    for _ in range(2):
        known.refresh()
    assert known.any and list(known.names) == ["anna"] and len(told) == 1 and "users\", line 2: " in told.pop()
    before = known.get("anna")
    # As passwd does it: another file takes its place.
    beside = tmp_path / "new"
    beside.write_text(f"anna:change:{OLD}\n", encoding="ascii")
    beside.rename(path)
    known.refresh()
    assert known.get("anna") != before and known.get("bert") is None and not told
    # The same size and time, written in place.
    status = path.stat()
    path.write_text(f"anno:change:{OLD}\n", encoding="ascii")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    known.refresh()
    assert set(known.names) == {"anno"}
    path.unlink()
    known.refresh()
    assert not known.names


def test_what_is_no_file_lets_nobody_in_and_holds_nobody_up(tmp_path: Path) -> None:
    told: list[str] = []
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        known = Users(path, told.append)
        known.refresh()
        assert not known.any
    assert "Is a directory" in told[0]
