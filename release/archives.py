"""Archives that are equal, byte for byte, whenever and wherever they are made: order, times, owners, modes.

setuptools and auditwheel write what is right in any order, with the times and owners of the machine. Here it is
written once more; a wheel gets the texts of the licences of its libraries on the way, and its RECORD anew.
"""
import base64
import gzip
import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

DIRECTORY, PROGRAM, FILE = 0o755, 0o755, 0o644
EARLIEST = 315_532_800  # 1980: a zip file knows no time before


def sdist(source: Path, target: Path, epoch: int) -> None:
    """Write the source distribution once more. `epoch`: seconds since 1970, the time of all its members."""
    packed = io.BytesIO()
    with tarfile.open(source) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = DIRECTORY if member.isdir() else PROGRAM if member.mode & 0o100 else FILE
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with target.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as compressed:
        compressed.write(packed.getvalue())


def wheel(source: Path, target: Path, epoch: int, licences: Mapping[str, bytes]) -> None:
    """Write the wheel once more, with these texts by their names below the licences of its dist-info."""
    with zipfile.ZipFile(source) as old:
        contents = {one.filename: old.read(one) for one in old.infolist() if not one.is_dir()}
        programs = {one.filename for one in old.infolist() if one.external_attr >> 16 & 0o100}
    [record] = [name for name in contents if name.endswith(".dist-info/RECORD")]
    info = PurePosixPath(record).parent
    contents |= {f"{info}/licenses/{name}": text for name, text in licences.items()}
    contents[f"{info}/METADATA"] = _named(contents[f"{info}/METADATA"], licences)
    del contents[record]
    lines = [f"{name},sha256={_digest(contents[name])},{len(contents[name])}" for name in sorted(contents)]
    contents[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    date = time.gmtime(max(epoch, EARLIEST))[:6]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        # The dist-info stands last, as the specification of wheels advises, and its RECORD behind all.
        for name in sorted(contents, key=lambda one: (one == record, one.startswith(f"{info}/"), one)):
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whose modes these are
            entry.external_attr = (0o100000 | (PROGRAM if name in programs else FILE)) << 16
            new.writestr(entry, contents[name])


def _named(metadata: bytes, licences: Mapping[str, bytes]) -> bytes:
    """The metadata with a line for each text, which it may have from version 2.4 on."""
    head, blank, body = metadata.partition(b"\n\n")
    version = head.partition(b"Metadata-Version: ")[2].split(b"\n")[0].split(b".")
    if [int(part) for part in version] < [2, 4]:
        return metadata
    lines = "".join(f"\nLicense-File: {name}" for name in sorted(licences)).encode()
    return head + lines + blank + body


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
