"""The image of packaging/container under Podman, with the options that quadlet makes of the unit."""
import shlex
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, REAL4, Attempt, Lab
from tests.daemon_process import SENDER4
from tests.systems.image import CONFIG, LIMITS, UNIT, daemon, layers, podman
from tests.systems.machine import CHECKOUT, CONFIGURATION, Machine

pytestmark = pytest.mark.timeout(1800)
QUADLET = "/usr/libexec/podman/quadlet"
NET_ADMIN = "0000000000001000"


@pytest.fixture
def machine(lab: Lab, storage: Path) -> Iterator[Machine]:
    """A machine with the image, and a configuration."""
    with Machine(lab, layers(), {"/var/lib/containers": storage}) as made:
        made.write(CONFIG, CONFIGURATION)
        made.install(UNIT, "/etc/containers/systemd/mxallowd.container", 0o644)
        made.start("sleep", "infinity")
        assert made.run("mount", "-t", "cgroup2", "cgroup", "/sys/fs/cgroup").returncode == 0
        yield made
        made.run("podman", "rm", "--force", "--all")
        made.run("podman", "volume", "rm", "--force", "mxallowd-state", "mxallowd-run")


def generated(machine: Machine) -> list[str]:
    """The words of `podman run` that quadlet makes of the unit, less those that need systemd."""
    done = machine.run(QUADLET, "--dryrun")
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr and "unsupported" not in done.stderr, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart=/usr/bin/podman "))
    kept = [word for word in words if not word.startswith(("--cidfile=", "--rm"))]
    assert "--cgroups=split" in kept
    if machine.run("sh", "-c", "echo -900 >/proc/self/oom_score_adj").returncode:
        # Here even root may not.
        kept.remove("--oom-score-adj=-900")
    return [*("--cgroups=disabled" if word == "--cgroups=split" else word for word in kept[:-1]), *LIMITS, kept[-1]]


def start(machine: Machine, *more: str) -> None:
    words = generated(machine)
    podman(machine, *words[:-1], *more, words[-1])
    wait_for(machine, " start ")


def wait_for(machine: Machine, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in (log := machine.run("podman", "logs", "mxallowd").stdout):
        assert time.monotonic() < deadline, log
        time.sleep(0.2)


def status(machine: Machine) -> int:
    """The status with which the container ended, once it has."""
    return int(machine.run("podman", "wait", "mxallowd").stdout)


def test_it_serves_with_one_capability(lab: Lab, machine: Machine) -> None:
    client = lab.client("client", SENDER4)
    lab.queue_rule("23", bypass=True)
    start(machine)
    with lab.gateway.serve(REAL4):
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        # The daemon is the child of process 1.
        said = podman(machine, "exec", "mxallowd", "cat", f"/proc/{daemon(machine)}/status")
        fields = {line.partition(":")[0]: line.split()[1:] for line in said.splitlines()}
        assert (fields["Uid"], fields["CapEff"], fields["CapBnd"], fields["NoNewPrivs"]) == (
            ["998"] * 4, [NET_ADMIN], [NET_ADMIN], ["1"])
        assert fields["Seccomp"] == ["2"]
        log = podman(machine, "logs", "mxallowd")
        assert not [word for word in ("degraded", "privileges", "state-off", "defect") if f" {word} " in log], log
        assert podman(machine, "exec", "mxallowd", "mxallowctl", "status").startswith("mxallowd ")
        assert podman(machine, "healthcheck", "run", "mxallowd") == ""
        done = machine.run("podman", "exec", "mxallowd", "touch", "/opt/mxallowd/new")
        assert "Read-only file system" in done.stderr
        # An editor writes a new file and renames it.
        machine.put(CONFIG, CONFIGURATION + "whitelist-time 4711\n")
        podman(machine, "kill", "--signal", "HUP", "mxallowd")
        wait_for(machine, " reloaded ")
        podman(machine, "stop", "mxallowd")
        assert status(machine) == 0
        assert lab.queues() == []
        # Another container has what this one knew.
        start(machine)
        assert client.attempt(REAL4) is Attempt.CONNECTED


def test_one_that_hangs_ends_its_container(lab: Lab, machine: Machine) -> None:
    """What Restart=always of the unit needs: the guard has ended the daemon, and the container ends with its status."""
    client = lab.client("client", SENDER4)
    lab.queue_rule("23", bypass=True)
    start(machine)
    podman(machine, "exec", "mxallowd", "sh", "-c", f"kill -STOP {daemon(machine)}")
    with lab.gateway.serve(REAL4):
        deadline = time.monotonic() + 5
        while client.attempt(REAL4) is not Attempt.CONNECTED:
            assert time.monotonic() < deadline
    assert status(machine) == 137


def test_systemd_hears_that_it_serves_and_lives(lab: Lab, machine: Machine) -> None:
    """Notify=true and WatchdogSec= of the unit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(machine.path / "notify"))
        listener.settimeout(20)
        words = generated(machine)
        done = machine.run("env", "NOTIFY_SOCKET=/notify", "podman", *words)
        assert done.returncode == 0, done.stderr
        heard = ""
        while "READY=1" not in heard:
            heard += listener.recv(4096).decode() + "\n"
        assert "MAINPID=" in heard
        while "WATCHDOG=1" not in heard:
            heard += listener.recv(4096).decode() + "\n"


def test_a_user_namespace_is_not_enough(lab: Lab, machine: Machine) -> None:
    words = [*(word for word in generated(machine) if word != "-d")]
    inside = ["--uidmap=0:100000:65536", "--gidmap=0:100000:65536"]
    # Root of this machine is nobody there, so even its configuration is a stranger's.
    done = machine.run("podman", *words[:-1], *inside, words[-1])
    assert done.returncode == 1
    assert "belongs to the user with id 65534" in done.stderr
    options = ["-c", "/dev/null", "-f", FAKE4, "-r", REAL4, "-n", "23"]
    done = machine.run("podman", *words[:-1], *inside, words[-1], *options)
    assert done.returncode == 1
    assert "cannot bind queue 23" in done.stderr


def test_what_docker_can_give_is_enough(lab: Lab, machine: Machine) -> None:
    """The capabilities of docs/containers.md for Docker, which gives none to another user: it keeps one of them."""
    page = (CHECKOUT / "docs" / "containers.md").read_text(encoding="utf-8")
    names = page.partition("cap_add: [")[2].partition("]")[0].replace(" ", "")
    words = [word for word in generated(machine) if word != "cap_net_admin"]
    words[words.index("--cap-add"):words.index("--cap-add") + 1] = ["--cap-add", names, "--user", "root"]
    podman(machine, *words)
    wait_for(machine, " start ")
    log = podman(machine, "logs", "mxallowd")
    assert not [word for word in ("degraded", "privileges", "state-off", "control") if f" {word} " in log], log
    assert podman(machine, "exec", "--user", "root", "mxallowd", "mxallowctl", "status").startswith("mxallowd ")
    said = podman(machine, "exec", "mxallowd", "cat", f"/proc/{daemon(machine)}/status")
    first = podman(machine, "exec", "--user", "root", "mxallowd", "cat", "/proc/1/status")
    assert "CapEff:\t00000000000010c3\n" in first
    assert f"CapEff:\t{NET_ADMIN}\n" in said and "Uid:\t998\t998\t998\t998\n" in said


def test_the_configuration_is_checked_as_the_page_says(lab: Lab, machine: Machine) -> None:
    page = (CHECKOUT / "docs" / "containers.md").read_text(encoding="utf-8")
    (line,) = (line.strip() for line in page.splitlines() if line.endswith(" --check"))
    program, *words = shlex.split(line)
    assert program == "podman"
    words[1:1] = ["--cgroups=disabled", *LIMITS]
    assert machine.run("podman", *words).returncode == 0
    machine.put(CONFIG, "")
    done = machine.run("podman", *words)
    assert done.returncode == 78
    assert "nothing is set up in" in done.stdout
