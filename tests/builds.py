"""Other builds of the compiled modules (MXALLOWD_BUILD): each is made once, for all tests and runs that want it.

They are in the temporary directory of the system, under a name that says what they were made from. Who comes while one
is made waits for it; what nobody used for some days is removed.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT_S = 3 * 86_400
# What only takes processors gets what is left of them: tests that run beside it wait for clocks.
LAST = ("nice", "-n", "19")


def digest(*words: str, sources: Iterable[Path] = ()) -> str:
    """A name for what is made from these files, by what the words say."""
    found = hashlib.sha256("\0".join(words).encode())
    for source in sorted(sources):
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def made_once(place: Path, name: str, make: Callable[[Path], None], kept_s: float = KEPT_S) -> Path:
    """The directory `name` in `place`; where it is missing, `make` fills one that then gets this name."""
    place.mkdir(parents=True, exist_ok=True)
    wanted = place / name
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            for old in place.iterdir():
                if old.is_dir() and time.time() - old.stat().st_mtime > kept_s:
                    shutil.rmtree(old)
            # Beside it, so that a build that was interrupted is none.
            with tempfile.TemporaryDirectory(prefix="making-", dir=place, ignore_cleanup_errors=True) as making:
                make(Path(making) / "made")
                (Path(making) / "made").rename(wanted)
        os.utime(wanted)
    return wanted


def package(kind: str) -> Path:
    """A directory with the package, built as MXALLOWD_BUILD says. Raises RuntimeError with what the compiler said."""
    sources = [path for path in (ROOT / "mxallowd").rglob("*") if path.suffix in (".py", ".pyx", ".pxd")]
    compiler = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout

    def make(tree: Path) -> None:
        left_out = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(ROOT / "mxallowd", tree / "mxallowd", ignore=left_out)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, tree / name)
        done = subprocess.run([*LAST, sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tree,
                              capture_output=True, text=True, env=os.environ | {"MXALLOWD_BUILD": kind})
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    place = Path(tempfile.gettempdir()) / f"mxallowd-builds-{os.getuid()}"
    place.mkdir(mode=0o755, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise RuntimeError(f"{place} belongs to somebody else")
    name = digest(kind, sys.executable, sys.version, compiler, sources=[*sources, ROOT / "setup.py"])
    return made_once(place, name, make)
