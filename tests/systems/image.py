"""The image of packaging/container, built by Podman in a bare root, and what the tests of it share.

The base image comes from no registry: it is what debootstrap makes, under the name that the Containerfile asks for.
"""
import json
import resource
import subprocess
import sys
from pathlib import Path

from tests.systems.machine import CHECKOUT, PLACE, Machine, root

SUITE = "trixie"  # its Podman knows quadlet
PACKAGES = ("podman", "buildah", "crun", "iproute2", "procps", "ca-certificates", "systemd", "dbus")
BASE = "docker.io/library/debian:trixie-slim"
CONFIG = "/etc/mxallowd/mxallowd.conf"
UNIT = "packaging/container/mxallowd.container"
# What a machine of tests may not raise, and what it has no groups for.
LIMITS = [f"--ulimit={name}={number}:{number}" for name, number in (
    ("nofile", resource.getrlimit(resource.RLIMIT_NOFILE)[1]), ("nproc", resource.getrlimit(resource.RLIMIT_NPROC)[1]))]


def layers() -> list[Path]:
    """A root with Podman and systemd."""
    return [root("podman", PACKAGES, SUITE)]


def podman(machine: Machine, *words: str, seconds: float = 60) -> str:
    """What `podman` says for these words, which it must do."""
    done = machine.run("env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", "podman", *words, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def daemon(machine: Machine) -> int:
    """The number that the daemon has in its container."""
    return int(json.loads(podman(machine, "exec", "mxallowd", "mxallowctl", "status", "--json"))["pid"])


def _pip_options(machine: Machine) -> list[str]:
    """Options of `podman build` that give pip there the configuration of this machine's pip, whatever that is."""
    lines = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    found = dict(line.partition(".")[2].split("=", 1) for line in lines)
    settings = {name: value.strip("'") for name, value in found.items()}
    options = []
    if certificate := settings.pop("cert", ""):
        machine.write("/pip.crt", Path(certificate).read_text(encoding="utf-8"))
        settings["cert"] = "/pip.crt"
        options.append("--volume=/pip.crt:/pip.crt:ro")
    for word in " ".join(settings.values()).split():
        # The files of an index may lie beside it.
        path = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
        if path.is_absolute() and path.exists() and word != "/pip.crt":
            options.append(f"--volume={machine.show(path)}:{path}:ro")
    machine.write("/pip.conf", "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    return [*options, "--volume=/pip.conf:/etc/pip.conf:ro"]


def built() -> Path:
    """Where Podman keeps its images, the one of mxallowd among them."""
    place = PLACE / "containers"
    place.mkdir(exist_ok=True)
    slim = root("slim", (), SUITE)
    with Machine(None, layers(), {"/var/lib/containers": place, "/source": CHECKOUT, "/slim": slim}) as machine:
        machine.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text(encoding="utf-8"))
        options = _pip_options(machine)
        machine.start("sleep", "infinity")
        # What was built from the same base and the same files is not built again.
        done = machine.run("sh", "-c", f"podman image exists {BASE} || tar -C /slim -c --exclude=./proc "
                                       f"--exclude=./sys --exclude=./dev . | podman import - {BASE}")
        assert done.returncode == 0, done.stderr
        podman(machine, "build", "--format=docker", "--network=host", "--isolation=chroot", *LIMITS, *options,
               "--file=/source/packaging/container/Containerfile", "--tag=mxallowd", "/source", seconds=1500)
        # What a run that was ended has left.
        podman(machine, "rm", "--force", "--all")
        podman(machine, "volume", "prune", "--force")
        podman(machine, "volume", "rm", "--force", "mxallowd-state", "mxallowd-run")
    return place
