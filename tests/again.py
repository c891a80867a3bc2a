"""Which tests of the last run may be run once more: prints their names. Status 1 where it must stay a failure.

The reports of a run tell of them in pytest's cache. Many failures, a test file that cannot be loaded and a process that
crashed are no accident of a busy machine.
"""
import json
import sys
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".pytest_cache" / "v"
FAILED = CACHE / "cache" / "lastfailed"
CRASHED = CACHE / "mxallowd" / "crashed"
MOST = 3


def again(failed: Path = FAILED, crashed: Path = CRASHED) -> list[str]:
    """The names of the tests that may be run once more; none where there are too many, or another kind of failure."""
    if crashed.exists() or not failed.exists():
        return []
    names = list(json.loads(failed.read_text(encoding="utf-8")))
    # A file that cannot be loaded stands there without a test.
    return names if len(names) <= MOST and all("::" in name for name in names) else []


if __name__ == "__main__":
    names = again()
    print("\n".join(names))
    sys.exit(not names)
