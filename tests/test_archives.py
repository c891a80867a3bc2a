"""release/: archives are equal whenever they are made, and a wheel stays one that pip takes."""
import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release import archives, epoch

EPOCH = 1_700_000_001
INFO = "thing-1.0.dist-info"
METADATA = "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n\nIt says: License-File: none\n"


def packed(path: Path, names: list[str], mtime: int) -> Path:
    """A source distribution with these members in this order, each with its name inside."""
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname, member.uid = len(name), mtime, f"user{mtime}", mtime
            member.mode = 0o775 if name.endswith("run") else 0o664
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


def wheel(path: Path, order: int, date: tuple[int, int, int, int, int, int], metadata: str = METADATA) -> Path:
    members = {"thing/__init__.py": "X = 1\n", "thing/run": "", f"{INFO}/METADATA": metadata,
               f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
               f"{INFO}/RECORD": "what,stood,here\n"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in list(members.items())[::order]:
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr = (0o775 if name.endswith("run") else 0o660) << 16
            archive.writestr(entry, text)
    return path


def test_a_source_distribution_is_equal_each_time(tmp_path: Path) -> None:
    names = ["thing-1.0/setup.py", "thing-1.0/run", "thing-1.0/a"]
    for number, order in enumerate((1, -1)):
        source = packed(tmp_path / "s.tar.gz", names[::order], 1000 + number)
        archives.sdist(source, tmp_path / f"done{number}", EPOCH)
    assert (tmp_path / "done0").read_bytes() == (tmp_path / "done1").read_bytes()
    with tarfile.open(tmp_path / "done0") as archive:
        found = {one.name: (one.mtime, one.mode, one.uid, one.uname) for one in archive.getmembers()}
        assert archive.extractfile("thing-1.0/a").read() == b"thing-1.0/a"  # type: ignore[union-attr]
    assert found == {name: (EPOCH, 0o755 if name.endswith("run") else 0o644, 0, "") for name in names}


def test_a_wheel_is_equal_each_time_and_has_the_texts(tmp_path: Path) -> None:
    for number, (order, year) in enumerate(((1, 1999), (-1, 2020))):
        source = wheel(tmp_path / f"{number}.whl", order, (year, 1, 2, 3, 4, 6))
        archives.wheel(source, tmp_path / f"done{number}", EPOCH, {"libx/copyright": b"free\n"})
    assert (tmp_path / "done0").read_bytes() == (tmp_path / "done1").read_bytes()
    with zipfile.ZipFile(tmp_path / "done0") as archive:
        contents = {one.filename: archive.read(one) for one in archive.infolist()}
        assert {one.date_time for one in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert archive.getinfo("thing/run").external_attr >> 16 == 0o100755
        assert archive.getinfo("thing/__init__.py").external_attr >> 16 == 0o100644
    assert list(contents)[-1] == f"{INFO}/RECORD"
    assert contents[f"{INFO}/licenses/libx/copyright"] == b"free\n"
    head, _, body = contents[f"{INFO}/METADATA"].decode().partition("\n\n")
    assert head.splitlines()[-1] == "License-File: libx/copyright"
    assert body == METADATA.partition("\n\n")[2]
    record = {row[0]: row[1:] for row in csv.reader(contents[f"{INFO}/RECORD"].decode().splitlines())}
    assert set(record) == set(contents)
    for name, (digest, size) in record.items():
        if name != f"{INFO}/RECORD":
            sha = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={sha}", str(len(contents[name])))


def test_metadata_of_an_older_form_keeps_its_lines(tmp_path: Path) -> None:
    source = wheel(tmp_path / "a.whl", 1, (1999, 1, 1, 1, 1, 2), METADATA.replace("2.4", "2.1"))
    archives.wheel(source, tmp_path / "b.whl", 0, {"libx/copyright": b"free\n"})
    with zipfile.ZipFile(tmp_path / "b.whl") as archive:
        assert archive.read(f"{INFO}/METADATA").decode() == METADATA.replace("2.4", "2.1")
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_time_of_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says; else the last commit; else the newest file of an unpacked source distribution."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    assert epoch.seconds(tmp_path) == 12345
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(ValueError, match="SOURCE_DATE_EPOCH='now' is no number of seconds"):
        epoch.seconds(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    for name, mtime in (("a", 1000), ("b", 3000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (mtime, mtime))
    assert epoch.seconds(tmp_path) == 3000
    for command in (["init", "-q"], ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q",
                                     "--allow-empty", "-m", "x", "--date", "@5 +0000"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, env=os.environ | {
            "GIT_COMMITTER_DATE": "@7000 +0000"})
    assert epoch.seconds(tmp_path) == 7000
    (tmp_path / ".git" / "HEAD").unlink()
    with pytest.raises(ValueError, match="git does not tell the time of the last commit: fatal: not a git repository"):
        epoch.seconds(tmp_path)


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    for words, said in ((["licences", str(tmp_path)], f"release: {tmp_path} holds no distribution of Python\n"),
                        (["sdist", str(tmp_path / "none"), str(tmp_path)], "release: [Errno 2] No such file")):
        done = subprocess.run([sys.executable, "-m", "release", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
