"""The files of the fleet, as --check reads them: what is wrong is one line with the file, and no secret is in it."""
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.authority import Authority
from mxallowd.daemon.fleet import create_fleet
from mxallowd.errors import StartError
from mxallowd.fleet import keys
from mxallowd.fleet.checking import problems, warnings
from mxallowd.fleet.keys import new_key
from mxallowd.lists.files import ListError
from tests.test_cli import GOOD, run
from tests.test_settings import MINIMUM, settings_of


class Files:
    """A key and a login that are as they should be, and certificates."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.key, self.login = directory / "fleet.key", directory / "fleet.login"
        self.write(self.key, new_key())
        self.write(self.login, "gateway pa55")
        self.authority = authority

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        path.write_text(f"{text}\n", encoding="utf-8")
        path.chmod(mode)
        os.utime(path, (0, 0))  # one that is new is looked at twice

    def words(self, *more: str) -> list[str]:
        return ["--fleet", "rediss://192.0.2.53", "--fleet-site", "example", "--fleet-key-file", str(self.key),
                "--fleet-login-file", str(self.login), *more]

    def problems(self, *more: str) -> list[str]:
        settings, _ = settings_of(" ".join([MINIMUM, *self.words(*more)]))
        assert settings is not None
        found = [f"{fault.where}: {fault.reason}" for fault in problems(settings)]
        assert not any(secret in one for one in found for secret in ("pa55", "ab" * 32, "\n"))
        return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("fleet") / "ca")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    return Files(tmp_path, authority)


def test_the_command_reads_them(files: Files) -> None:
    assert run("--check", *GOOD, "--user", "root", *files.words()) == (0, "", "")
    files.write(files.key, "pa55")
    status, output, _ = run("--check", *GOOD, "--user", "root", *files.words())
    assert (status, output) == (
        1, f"{files.key}:1: is no key: a key is 64 hexadecimal digits, this line has 4 characters\n")


def test_what_is_as_it_should_be(files: Files) -> None:
    signed, own = files.authority.sign("mx1"), files.authority.own
    assert files.problems("--fleet-ca-file", str(own.certificate), "--fleet-cert-file", str(signed.certificate),
                          "--fleet-cert-key-file", str(signed.key)) == []
    files.write(files.key, f"# new\n{new_key()}\n{new_key()} # old")
    files.write(files.login, "# engine\ngateway pa55\n\n# Sentinels\npa55")
    assert files.problems() == []
    settings, _ = settings_of(MINIMUM)
    assert settings is not None
    assert problems(settings) == []


def test_a_client_that_is_not_there(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mxallowd.fleet.link", raising=False)
    for name in [one for one in sys.modules if one.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    (line,) = files.problems()
    assert line.startswith("system: fleet needs the Python package redis, 6.0 or later: pip install 'redis[")
    settings, _ = settings_of(" ".join([MINIMUM, *files.words()]))
    assert settings is not None
    with pytest.raises(StartError, match=r"fleet needs the Python package redis, 6\.0 or later"):
        create_fleet(settings, *[None] * 4)  # type: ignore[arg-type]  # none of them is asked


@pytest.mark.parametrize(("which", "text", "mode", "said"), [
    ("key", "", 0o600, ": has no key; mxallowctl fleet key makes one"),
    ("key", "ab" * 32, 0o644, ": is not read: everybody may read this secret (chmod o-r)"),
    ("key", "ab" * 32, 0o602, "everybody may write"),
    ("login", "gateway pa55 pa55", 0o600, ":1: has 3 words"),
    ("login", "a pa55\nb pa55\nc pa55", 0o600, ":3: is one line too many"),
    ("login", "gateway pa55", 0o604, ": is not read: everybody may read this secret"),
    ("login", "# gateway pa55", 0o600, ": has no line USER PASSWORD")])
def test_a_secret_that_cannot_be_used(files: Files, which: str, text: str, mode: int, said: str) -> None:
    path = files.key if which == "key" else files.login
    files.write(path, text, mode)
    (line,) = files.problems()
    assert line.startswith(str(path))
    assert said in line


def test_files_that_are_not_there(files: Files, tmp_path: Path) -> None:
    files.key.unlink()
    files.login.unlink()
    missing = tmp_path / "missing.pem"
    assert files.problems("--fleet-ca-file", str(missing)) == [
        f"{files.key}: cannot be read: No such file or directory",
        f"{files.login}: cannot be read: No such file or directory",
        f'settings: fleet-ca-file: "{missing}" cannot be used: No such file or directory']


def test_certificates_that_cannot_be_used(files: Files) -> None:
    other, own = files.authority.sign("mx2"), files.authority.own
    for words, said in (
            (("fleet-ca-file", own.key), "cannot be used: there is no certificate in PEM in it"),
            (("fleet-cert-file", own.certificate), "cannot be used: there is no certificate in PEM in it, or no "),
            (("fleet-cert-file", own.certificate, "--fleet-cert-key-file", other.key),
             "cannot be used: the key is not that of the certificate")):
        (line,) = files.problems(f"--{words[0]}", *map(str, words[1:]))
        assert line.startswith(f'settings: {words[0]}: "{words[1]}" {said}')
    other.key.chmod(0o644)
    (line,) = files.problems("--fleet-cert-file", str(own.certificate), "--fleet-cert-key-file", str(other.key))
    assert line == (f'settings: fleet-cert-key-file: "{other.key}" is not read: everybody may read this secret '
                    "(chmod o-r)")


def test_what_a_reload_could_not_read(files: Files) -> None:
    files.problems()
    settings, _ = settings_of(" ".join([MINIMUM, *files.words()]))
    assert settings is not None
    settings = replace(settings, user="64999")
    os.chown(files.key, 0, 0)
    files.key.chmod(0o640)
    os.chown(files.login, 0, 64999)
    files.login.chmod(0o640)
    (said,) = warnings(settings)
    assert str(files.key) in said
    assert "chgrp 64999 " in said
    os.chown(files.key, 64999, 0)
    assert warnings(settings) == []


def test_a_socket_that_is_none(files: Files, tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "there is no socket"), (files.key, "is no socket")):
        settings, _ = settings_of(" ".join([MINIMUM, *files.words(), "--fleet", f"unix://{path}", "--user", "root"]))
        assert settings is not None
        (line,) = warnings(settings)
        assert said in line


def test_a_directory_is_no_key_and_a_mark_at_the_beginning_is_none(files: Files, tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"no regular file|Is a directory"):
        keys.read(tmp_path, "example", as_we_are=True)
    assert keys.parse(b"\xef\xbb\xbf" + new_key().encode("ascii"), "key", "example").numbers()
