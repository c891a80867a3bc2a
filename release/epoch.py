"""The time that is written into all that a release holds, so that two builds are equal (SOURCE_DATE_EPOCH).

It is what the environment has; else the time of the last commit; else, in an unpacked source distribution, that of its
newest file, which is the same one.
"""
import os
import subprocess
from pathlib import Path


def seconds(root: Path) -> int:
    """Seconds since 1970 for the sources in this directory.

    Raises ValueError where SOURCE_DATE_EPOCH is no number, or where git fails in a clone.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given:
        if not (given.isascii() and given.isdigit()):
            raise ValueError(f"SOURCE_DATE_EPOCH={given!r} is no number of seconds")
        return int(given)
    if (root / ".git").exists():
        done = subprocess.run(["git", "-C", root, "log", "-1", "--format=%ct"], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"git does not tell the time of the last commit: {done.stderr.partition(chr(10))[0]}")
        return int(done.stdout)
    return max(int(path.stat().st_mtime) for path in root.glob("*") if path.is_file())
