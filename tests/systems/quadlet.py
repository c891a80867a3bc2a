"""packaging/container/mxallowd.container under systemd as the first process of a bare root, with Podman and a queue."""
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Lab, ip_output
from lab.ptrace import frozen
from tests.daemon_process import SENDER4
from tests.systems.image import CONFIG, LIMITS, UNIT, daemon, layers, podman
from tests.systems.machine import CHECKOUT, CONFIGURATION, Machine

pytestmark = pytest.mark.timeout(1800)
# In a control group of its own: its systemd must see no other one.
FIRST = """
set -eu
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir /sys/fs/cgroup/$1
echo $$ >/sys/fs/cgroup/$1/cgroup.procs
umount /sys/fs/cgroup
exec unshare --cgroup sh -euc '
    mount -t cgroup2 cgroup /sys/fs/cgroup
    exec env container=other /usr/lib/systemd/systemd'
"""
# What would reach for this machine's kernel or console.
MASKED = (
    "systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service", "systemd-remount-fs.service",
    "systemd-random-seed.service", "console-getty.service", "getty@tty1.service", "systemd-logind.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount")


def remove_groups(name: str) -> None:
    """Remove a control group and those below it; no process is left in them."""
    with tempfile.TemporaryDirectory(prefix="mxgroups") as place:
        subprocess.run(["mount", "-t", "cgroup2", "cgroup", place], check=True)
        try:
            for directory, _, _ in os.walk(Path(place, name), topdown=False):
                Path(directory).rmdir()
        finally:
            subprocess.run(["umount", place], check=True)


@pytest.fixture
def machine(lab: Lab, storage: Path) -> Iterator[Machine]:
    """A machine with the unit and the image, once systemd runs. The service starts with the machine."""
    group = f"mxallowd-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with Machine(lab, layers(), {"/var/lib/containers": storage}) as made:
            made.write(CONFIG, CONFIGURATION)
            # No groups for containers, and no right to raise a limit, are to be had where tests run.
            unit = (CHECKOUT / UNIT).read_text(encoding="utf-8").replace(
                "--oom-score-adj=-900", " ".join((*LIMITS, "--cgroups=disabled")))
            made.write("/etc/containers/systemd/mxallowd.container", unit)
            for name in MASKED:
                (made.path / "etc/systemd/system" / name).symlink_to("/dev/null")
            made.write("/etc/machine-id", "")
            made.start("sh", "-c", FIRST, "sh", group)
            yield made
            made.run("systemctl", "stop", "mxallowd")
            made.run("podman", "volume", "rm", "--force", "mxallowd-state", "mxallowd-run")
    finally:
        remove_groups(group)


def state(machine: Machine) -> str:
    return machine.run("systemctl", "is-active", "mxallowd").stdout.strip()


def log(machine: Machine) -> str:
    return machine.run("journalctl", "--unit=mxallowd", "--output=cat", "--no-pager").stdout


def wait_for(machine: Machine, text: str, times: int = 1, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while (said := log(machine)).count(text) < times:
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def outside(lab: Lab, number: int) -> int:
    """The number that a process of the container has outside: three namespaces, one in another."""
    for pid in ip_output(f"netns pids {lab.gateway.name}").split():
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        found = status.partition("NSpid:")[2].split("\n")[0].split()
        if len(found) == 3 and found[-1] == str(number):
            return int(pid)
    raise AssertionError(number)


def test_systemd_starts_it_and_starts_it_again(lab: Lab, machine: Machine) -> None:
    client = lab.client("client", SENDER4)
    lab.queue_rule("23", bypass=True)
    wait_for(machine, "Started mxallowd.service")
    with lab.gateway.serve(REAL4):
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
    machine.put(CONFIG, CONFIGURATION + "whitelist-time 4711\n")
    assert machine.run("systemctl", "reload", "mxallowd").returncode == 0
    wait_for(machine, " reloaded ")
    podman(machine, "exec", "mxallowd", "sh", "-c", f"kill -STOP {daemon(machine)}")
    # The guard acts where a packet waits.
    client.attempt(FAKE4)
    wait_for(machine, "Started mxallowd.service", times=2, seconds=10)
    assert "guard-killed queue=23" in log(machine)
    # Its main thread hangs, verdicts go on: systemd hears nothing for ten seconds.
    with frozen(outside(lab, daemon(machine))):
        wait_for(machine, "Watchdog timeout")
    wait_for(machine, "Started mxallowd.service", times=3)
    assert state(machine) == "active"
    assert machine.run("systemctl", "stop", "mxallowd").returncode == 0
    assert lab.queues() == []


def test_nothing_is_set_up_yet(lab: Lab, machine: Machine) -> None:
    wait_for(machine, "Started mxallowd.service")
    machine.put(CONFIG, "")
    assert machine.run("systemctl", "restart", "mxallowd").returncode == 1
    time.sleep(3)
    assert state(machine) == "failed"
    assert log(machine).count("nothing is set up in") == 1
    machine.put(CONFIG, CONFIGURATION)
    assert machine.run("systemctl", "start", "mxallowd").returncode == 0
    assert state(machine) == "active"
