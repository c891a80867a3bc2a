"""packaging/openrc/mxallowd under OpenRC as the first process of a bare root: openrc-init, real daemon, real queue."""
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Lab
from tests.daemon_process import SENDER4
from tests.systems.machine import CONFIGURATION, PACKAGES, Machine, root

pytestmark = pytest.mark.timeout(900)
CONFIG = "/etc/mxallowd.conf"
BROKEN = CONFIGURATION + "whitelist-time never\n"


@pytest.fixture(scope="module")
def base(program: Path) -> list[Path]:
    """The layers of a root with OpenRC."""
    return [root("openrc", (*PACKAGES, "openrc")), program]


@pytest.fixture
def machine(lab: Lab, base: list[Path]) -> Iterator[Machine]:
    """A machine with the script in its default run level, and a configuration; not started yet."""
    with Machine(lab, base) as made:
        # Of Debian's services none but the logger: they would set the clock, and settings of the kernel.
        for level in made.path.glob("etc/runlevels/*"):
            for link in level.iterdir():
                if "syslogd" not in link.name:
                    link.unlink()
        made.install("packaging/openrc/mxallowd", "/etc/init.d/mxallowd")
        made.install("packaging/openrc/mxallowd.confd", "/etc/conf.d/mxallowd", 0o644)
        done = made.in_chroot("rc-update", "add", "mxallowd", "default")
        assert done.returncode == 0, done.stdout + done.stderr
        made.write(CONFIG, CONFIGURATION)
        yield made


def service(machine: Machine, word: str) -> tuple[int, str]:
    """The exit status of the script for this word, and what it said."""
    done = machine.run("rc-service", "mxallowd", word)
    return done.returncode, done.stdout + done.stderr


def test_openrc_starts_it_and_it_serves(lab: Lab, machine: Machine) -> None:
    client = lab.client("client", SENDER4)
    lab.queue_rule("23", bypass=True)
    machine.start("/sbin/openrc-init")
    with lab.gateway.serve(REAL4):
        daemon = machine.wait_for_daemon()
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert service(machine, "status")[0] == 0
        status, said = service(machine, "restart")
        assert status == 0, said
        second = machine.wait_for_daemon(daemon)
        # A restart keeps what it knows.
        assert client.attempt(REAL4) is Attempt.CONNECTED
        machine.put(CONFIG, CONFIGURATION + "whitelist-time 4711\n")
        status, said = service(machine, "reload")
        assert status == 0, said
        deadline = time.monotonic() + 5
        while " reloaded " not in machine.log():
            assert time.monotonic() < deadline, machine.log()
            time.sleep(0.1)
        assert machine.daemon() == second
        assert service(machine, "stop")[0] == 0
        assert service(machine, "status")[0] == 3
        assert lab.queues() == []


def test_one_that_ends_is_started_again(lab: Lab, machine: Machine) -> None:
    machine.start("/sbin/openrc-init")
    known = [machine.wait_for_daemon()]
    # More often than the ten times after which supervise-daemon would give up by default.
    for _ in range(12):
        killed = time.monotonic()
        machine.run("kill", "-KILL", str(known[-1]))
        known.append(machine.wait_for_daemon(*known))
        assert time.monotonic() - killed < 5


def test_a_broken_configuration_stops_nothing(lab: Lab, machine: Machine) -> None:
    machine.start("/sbin/openrc-init")
    daemon = machine.wait_for_daemon()
    machine.put(CONFIG, BROKEN)
    for word in ("restart", "reload", "checkconfig"):
        status, said = service(machine, word)
        assert status == 1
        assert '"never"' in said
        assert machine.daemon() == daemon
    # It can be stopped, and does not start with it.
    assert service(machine, "stop")[0] == 0
    assert service(machine, "start")[0] == 1
    assert lab.queues() == []


def test_nothing_is_set_up_yet(lab: Lab, machine: Machine) -> None:
    machine.write(CONFIG, "# nothing yet\n")
    machine.start("/sbin/openrc-init")
    deadline = time.monotonic() + 20
    while "default" not in machine.run("rc-status", "--runlevel").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    status, said = service(machine, "start")
    assert status == 1
    assert "nothing is set up in" in said
    assert lab.queues() == []
