"""Fixtures that several files share."""
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.hosts import REAL4, REAL6, Host, Lab, supported
from tests.again import CRASHED
from tests.daemon_process import QUEUE, SENDER4, SENDER6
from tests.ways import EVERY, Way

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Its asserts say what they saw, as those of test files do.
pytest.register_assert_rewrite("tests.target_conformance")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each process of a run begin with some of the tests that take long, so that they are not what it ends with."""
    workers = getattr(config, "workerinput", {}).get("workercount", 0)
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if not item.get_closest_marker("long")]
    ordered: list[pytest.Item] = []
    for number in range(workers):
        own = long[number::workers]
        # The part of this process, as --dist worksteal cuts them.
        more = max(0, (len(items) - len(ordered)) // (workers - number) - len(own))
        ordered += own + rest[:more]
        del rest[:more]
    if workers:
        items[:] = ordered


def pytest_handlecrashitem(crashitem: str) -> None:
    """Remember that a process of the run crashed: such a failure is never run once more (again.py)."""
    CRASHED.parent.mkdir(parents=True, exist_ok=True)
    CRASHED.write_text(crashitem + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """The browser of a file. Where there is none: a failure under CI=true, else a skip."""
    # What needs no browser starts without Playwright.
    from tests.browser import browser, required
    required()
    with browser() as made:
        yield made


@pytest.fixture
def namespaces() -> None:
    """Whoever asks for it needs hosts of its own. Where none can be made: a failure under CI=true, else a skip."""
    reason = supported()
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the kernel's queue: {reason}")
        pytest.skip(reason)


@pytest.fixture
def lab(namespaces: None) -> Iterator[Lab]:
    """A gateway in a namespace of its own."""
    with Lab() as made:
        yield made


@pytest.fixture
def client(lab: Lab, request: pytest.FixtureRequest) -> Host:
    """A host beside the gateway. Its addresses are those of a sender, or CLIENT of the file."""
    return lab.client("client", *getattr(request.module, "CLIENT", (SENDER4, SENDER6)))


@pytest.fixture
def served(lab: Lab) -> Iterator[Lab]:
    """The gateway with a mail server on its real addresses."""
    with lab.gateway.serve(REAL4), lab.gateway.serve(REAL6):
        yield lab


@pytest.fixture
def guarded(served: Lab, request: pytest.FixtureRequest) -> Lab:
    """The same behind the rule of the contract; mail flows while nobody serves the queue if the file says BYPASS."""
    served.queue_rule(QUEUE, bypass=getattr(request.module, "BYPASS", False))
    return served


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """The way that the test is about."""
    return EVERY[request.param]


DEFAULTS = {Path("/var/lib/mxallowd"): "0700", Path("/run/mxallowd"): "0755"}


@pytest.fixture(scope="session")
def default_places() -> Iterator[list[Path]]:
    """The default directories of state and control, as this process's and its children's: no test uses the system's."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield []
        return
    clone_newns = 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newns):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    # They go with this process.
    yield list(DEFAULTS)


def cover(place: Path) -> None:
    """Mount an empty file system there, in the namespace of this process.

    Who removes the directory, in whichever namespace, takes the mount away in all of them (rmdir(2), since Linux 3.18),
    as other test processes and the removal of a package may; so it is looked for before each test, and made again.
    """
    for _ in range(100):
        if os.path.ismount(place):
            return
        place.mkdir(exist_ok=True)
        # It may be gone again by now.
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode={DEFAULTS[place]}", "tmpfs", str(place)], check=False)
    raise RuntimeError(f"nothing can be mounted at {place}")


@pytest.fixture(autouse=True)
def fresh_places(default_places: list[Path]) -> None:
    """No test finds the state or the socket of another one."""
    for place in default_places:
        cover(place)
        for file in place.iterdir():
            # A daemon of the test before, which is ending, removes its own.
            file.unlink(missing_ok=True)
        os.chown(place, 0, 0)
