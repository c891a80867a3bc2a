"""packaging/sysv/mxallowd under sysvinit as the first process of a bare root: real init, real daemon, real queue."""
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Lab
from tests.daemon_process import SENDER4
from tests.systems.machine import CHECKOUT, CONFIGURATION, PACKAGES, Machine, root

pytestmark = pytest.mark.timeout(900)
SCRIPT = "/etc/init.d/mxallowd"
CONFIG = "/etc/mxallowd.conf"
BROKEN = CONFIGURATION + "whitelist-time never\n"


@pytest.fixture(scope="module")
def base(program: Path) -> list[Path]:
    """The layers of a root with sysvinit."""
    return [root("sysv", (*PACKAGES, "sysvinit-core", "sysv-rc", "insserv")), program]


@pytest.fixture
def machine(lab: Lab, base: list[Path]) -> Iterator[Machine]:
    """A machine with the script and a configuration, not started yet."""
    with Machine(lab, base) as made:
        # Of the scripts of Debian none but the logger: they would set the clock, and settings of the kernel.
        for level in made.path.glob("etc/rc?.d"):
            for link in level.iterdir():
                if "syslogd" not in link.name:
                    link.unlink()
        made.install("packaging/sysv/mxallowd", SCRIPT)
        made.write(CONFIG, CONFIGURATION)
        yield made


def start(machine: Machine) -> None:
    """Put the script into the run levels, as the package does, and let init do the rest."""
    done = machine.in_chroot("update-rc.d", "mxallowd", "defaults")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [link.name[3:] for link in machine.path.glob("etc/rc2.d/S*mxallowd")] == ["mxallowd"]
    machine.start("/sbin/init", "2")


def statuses(machine: Machine, *words: str) -> list[int]:
    """The exit statuses of the script for these words, one after the other."""
    return [machine.run(SCRIPT, word).returncode for word in words]


def oom_score(machine: Machine) -> str:
    """What the script asks for, or what is left where the kernel refuses it to root."""
    done = machine.run("sh", "-c", "echo -900 >/proc/self/oom_score_adj; exec cat /proc/self/oom_score_adj")
    return done.stdout


def test_init_starts_it_and_it_serves(lab: Lab, machine: Machine) -> None:
    client = lab.client("client", SENDER4)
    lab.queue_rule("23", bypass=True)
    start(machine)
    with lab.gateway.serve(REAL4):
        daemon = machine.wait_for_daemon()
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert machine.read("/var/run/mxallowd.pid") == f"{daemon}\n"
        assert machine.read(f"/proc/{daemon}/oom_score_adj") == oom_score(machine)
        assert f"whitelisted [{SENDER4}]" in machine.log()
        # A restart keeps what it knows.
        assert statuses(machine, "status", "start", "restart", "status") == [0, 0, 0, 0]
        assert machine.wait_for_daemon(daemon) != daemon
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert statuses(machine, "stop", "status", "stop", "try-restart", "status", "reload") == [0, 3, 0, 0, 3, 7]
        assert lab.queues() == []
        # Run level 1, of a single user, stops it as well.
        assert statuses(machine, "start") == [0]
        machine.run("/sbin/telinit", "1")
        deadline = time.monotonic() + 10
        while lab.queues():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_reload_is_one(lab: Lab, machine: Machine) -> None:
    start(machine)
    daemon = machine.wait_for_daemon()
    machine.put(CONFIG, CONFIGURATION + "whitelist-time 4711\n")
    assert statuses(machine, "reload") == [0]
    deadline = time.monotonic() + 5
    while " reloaded " not in machine.log():
        assert time.monotonic() < deadline, machine.log()
        time.sleep(0.1)
    assert machine.daemon() == daemon


def test_a_broken_configuration_stops_nothing(lab: Lab, machine: Machine) -> None:
    start(machine)
    daemon = machine.wait_for_daemon()
    machine.put(CONFIG, BROKEN)
    for word in ("restart", "try-restart", "reload", "force-reload"):
        done = machine.run(SCRIPT, word)
        assert done.returncode == 6
        assert '"never"' in done.stderr
        assert machine.daemon() == daemon
    assert statuses(machine, "stop", "start", "status") == [0, 6, 3]


def test_foreground_in_the_configuration_does_not_hold_up_the_boot(lab: Lab, machine: Machine) -> None:
    machine.write(CONFIG, CONFIGURATION + "Foreground\n")
    start(machine)
    done = machine.run(SCRIPT, "start")
    assert done.returncode == 6
    assert "take it out" in done.stdout + done.stderr


def test_nothing_is_set_up_yet(lab: Lab, machine: Machine) -> None:
    machine.write(CONFIG, "# nothing yet\n")
    start(machine)
    for word in ("start", "restart"):
        done = machine.run(SCRIPT, word)
        assert done.returncode == 0
        assert (done.stdout + done.stderr).count("\n") == 1
        assert "nothing is set up in" in done.stdout + done.stderr
    assert statuses(machine, "status", "stop") == [3, 0]
    # What runs goes on, though its configuration was emptied.
    machine.put(CONFIG, CONFIGURATION)
    assert statuses(machine, "start") == [0]
    machine.put(CONFIG, "")
    assert statuses(machine, "restart", "status") == [6, 0]


def test_a_number_that_is_left_is_not_taken_for_it(lab: Lab, machine: Machine) -> None:
    start(machine)
    daemon = machine.wait_for_daemon()
    machine.run("kill", "-KILL", str(daemon))
    time.sleep(0.5)
    assert statuses(machine, "status") == [1]
    # The number belongs to another program now.
    machine.put("/var/run/mxallowd.pid", "1\n")
    assert statuses(machine, "status", "stop") == [1, 0]
    assert machine.run("ps", "-p", "1", "-o", "comm=").stdout == "init\n"
    assert statuses(machine, "start", "status") == [0, 0]
    assert machine.daemon() not in (0, daemon)


def test_the_line_for_inittab_starts_it_again(lab: Lab, machine: Machine) -> None:
    """The line of docs/other-systems.md, in place of the script."""
    page = (CHECKOUT / "docs" / "other-systems.md").read_text(encoding="utf-8")
    (line,) = (line.strip() for line in page.splitlines() if ":respawn:" in line)
    machine.write("/etc/inittab", f"id:2:initdefault:\n{line}\n")
    machine.start("/sbin/init", "2")
    daemon = machine.wait_for_daemon()
    killed = time.monotonic()
    machine.run("kill", "-KILL", str(daemon))
    second = machine.wait_for_daemon(daemon)
    assert time.monotonic() - killed < 5
    # What the page says for a reload and a restart.
    assert machine.run("mxallowctl", "reload").returncode == 0
    assert machine.daemon() == second
    assert machine.run("pkill", "-o", "-x", "mxallowd").returncode == 0
    assert machine.wait_for_daemon(daemon, second)
