"""The recipe of docs/fleet.md, typed as it stands there on two gateways: they share a whitelist, and change its key."""
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.engine import programs
from lab.gateways import Site
from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
SENDERS = ("192.0.2.101", "192.0.2.102")
REDIS, MXALLOWD = 901, 902  # users and groups
IDENTITIES = {
    "passwd": f"root:x:0:0::/:/bin/sh\nredis:x:{REDIS}:{REDIS}::/:/bin/false\n"
              f"mxallowd:x:{MXALLOWD}:{MXALLOWD}::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "group": f"root:x:0:\nredis:x:{REDIS}:\nmxallowd:x:{MXALLOWD}:\nnogroup:x:65534:\n",
}
# Of the machine's own, for the programs that are run.
TAKEN = ("ld.so.cache", "nsswitch.conf", "ssl/openssl.cnf", "alternatives", "localtime", "hosts", "protocols",
         "services")


def recipe() -> tuple[list[str], list[str]]:
    """The lines for the host of the engine, and those for each gateway."""
    section = PAGE.partition("## Two gateways on Debian\n")[2].partition("\n## ")[0]
    first, second, *_ = re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)
    return [line.strip() for line in first.splitlines()], [line.strip() for line in second.splitlines()]


class Machine:
    """A gateway with directories of its own where the recipe writes, and with stand-ins for what Debian would do."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self._lab, self.home = lab, place / "root"
        etc = place / "etc"
        for name in ("root", "bin", "etc/ssl", "etc/redis", "run/redis", "lib/redis", "log/redis"):
            (place / name).mkdir(parents=True)
        for name in TAKEN:
            if (source := Path("/etc") / name).is_dir():
                shutil.copytree(source, etc / name, symlinks=True)
            elif source.exists():
                shutil.copy(source, etc / name)
        for name, text in IDENTITIES.items():
            (etc / name).write_text(text, encoding="ascii")
        for directory in (place / "run/redis", place / "lib/redis", place / "log/redis", etc / "redis"):
            os.chown(directory, REDIS, REDIS)
        (etc / "mxallowd.conf").write_text(
            f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\nno-rdns-whitelist\n", encoding="ascii")
        self._write_commands(place)
        self._inside = lab.gateway.popen(["unshare", "--mount", "sleep", "1000"])
        while Path(f"/proc/{self._inside.pid}/comm").read_text(encoding="ascii") != "sleep\n":
            time.sleep(0.01)
        self.type("; ".join(f"mount --bind {place}/{own} {real}" for own, real in (
            ("etc", "/etc"), ("run", "/run"), ("lib", "/var/lib"), ("log", "/var/log"))))

    def _write_commands(self, place: Path) -> None:
        server = next(iter(programs().values()))
        libraries = ":".join(map(str, (Path(server).parents[1] / "lib").glob("*-linux-*")))
        daemon = f"exec {sys.executable} -P -m mxallowd"
        commands = {
            "apt": "exit 0", "mxallowctl": f'{daemon}.ctl "$@"', "mxallowd": f'{daemon} "$@"',
            # Of `scp -r WHAT HOST:`; the other home stands beside this one.
            "scp": f'exec cp -r "$2" {place.parent}/mx2/root/',
            "systemctl": f"""case "$*" in
                'restart redis-server')
                    setpriv --reuid=redis --regid=redis --clear-groups env LD_LIBRARY_PATH={libraries} \\
                        {server} /etc/redis/redis.conf >/dev/null 2>&1 &
                    until [ -S /run/redis/redis.sock ]; do sleep 0.05; done ;;
                'restart mxallowd') mxallowd -F -s >{place}/log/mxallowd 2>&1 & ;;
                *) exit 1 ;;
            esac"""}
        for name, text in commands.items():
            command = place / "bin" / name
            command.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            command.chmod(0o755)
        self._path = f"{place}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"

    def type(self, line: str) -> str:
        """What a line prints; it has to go well."""
        inside = ["nsenter", "--target", str(self._inside.pid), "--mount", "--net"]
        done = subprocess.run([*inside, "sh", "-euc", f"cd {self.home}; {line}"], capture_output=True, text=True,
                              check=False, timeout=30,
                              env={**os.environ, "PATH": self._path, "PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def two_machines(place: Path) -> Iterator[tuple[Machine, Machine, Lab, Lab]]:
    """mx1 and mx2, with the addresses of the page; all that runs there ends with them."""
    place.chmod(0o755)
    with Site() as site:
        labs = [site.gateway(name)[0] for name in ("mx1", "mx2")]
        machines = [Machine(lab, place / name) for lab, name in zip(labs, ("mx1", "mx2"), strict=True)]
        with ExitStack() as ending:
            for lab in labs:
                ending.callback(end_all, lab)
            yield machines[0], machines[1], labs[0], labs[1]


def end_all(lab: Lab) -> None:
    """End every process in the gateway's network."""
    listed = subprocess.run(["ip", "netns", "pids", lab.gateway.name], capture_output=True, text=True, check=True)
    for pid in listed.stdout.split():
        os.kill(int(pid), 9)


@pytest.mark.fleet
@pytest.mark.usefixtures("namespaces")
def test_the_recipe(tmp_path: Path) -> None:
    engine, gateway = recipe()
    assert len(engine) + len(gateway) <= 10
    with two_machines(tmp_path) as (mx1, mx2, lab1, lab2):
        for line in engine:
            mx1.type(line.replace("/root", str(mx1.home)).replace(
                "/usr/share/doc/mxallowd/examples", str(ROOT / "packaging")))
        for machine, name in ((mx1, "mx1"), (mx2, "mx2")):
            for line in gateway:
                until_it_goes_well(machine, line.replace("mx1", name))
        for lab in (lab1, lab2):
            lab.load_ruleset("queue.sh")
        first, second = (lab.client("sender", *SENDERS) for lab in (lab1, lab2))
        with lab2.gateway.serve(REAL4):
            pass_by_both(first, second, SENDERS[0])
            # "Another key", step by step.
            old, new = "$(head -n 1 /etc/mxallowd/fleet.key)", mx1.type("mxallowctl fleet key").strip()
            for keys in (f"{old} {new}", f"{new} {old}", new):
                for machine in (mx1, mx2):
                    machine.type(f"printf '%s\\n' {keys} >new && cat new >/etc/mxallowd/fleet.key && mxallowctl reload")
            pass_by_both(first, second, SENDERS[1])
        status = mx2.type("mxallowctl fleet status")
        assert re.search(r"^mx1 .* 2 +\d+ +-$", status, re.MULTILINE), status
        assert re.search(r"^keys +[0-9a-f]{8} signs$", status, re.MULTILINE), status


def pass_by_both(first: Host, second: Host, address: str) -> None:
    """A sender meets the fake server of one gateway, and gets in at the real server of the other one."""
    assert first.attempt(FAKE4, source=address) is Attempt.REFUSED
    assert second.attempt(REAL4, timeout=3, source=address) is Attempt.CONNECTED


def until_it_goes_well(machine: Machine, line: str) -> None:
    """Type it again while the daemon still starts."""
    for left in range(40, -1, -1):
        try:
            machine.type(line)
            return
        except AssertionError:
            if not left or not line.startswith("mxallowctl"):
                raise
            time.sleep(0.1)
