"""What README tells a newcomer to do works as it stands there."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd.ctl import registry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UP = README.partition("\n## Set it up\n")[2].partition("\n## ")[0]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of README as a file."""
    found = re.search(r"^    fake-mailserver .*\n(?:    .+\n)+", SET_UP, re.MULTILINE)
    assert found
    path = tmp_path / "mxallowd.conf"
    path.write_text(re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE), encoding="ascii")
    return path


def mxallowd(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "mxallowd", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)


def test_its_configuration_is_taken_and_refuses_nobody(config: Path) -> None:
    done = mxallowd("--check", "-c", str(config))
    said = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if str(config) in line]
    assert (done.returncode, said) == (0, []), done.stderr
    assert "\ndry-run\n" in config.read_text(encoding="ascii")


def test_its_servers_are_those_of_its_records(config: Path) -> None:
    records = re.findall(r"^    (mx\d)\S+ +A +(\S+)$", SET_UP, re.MULTILINE)
    servers = dict(line.split() for line in config.read_text(encoding="ascii").splitlines() if "-mailserver " in line)
    assert dict(records) == {"mx1": servers["fake-mailserver"], "mx2": servers["real-mailserver"]}


@pytest.mark.parametrize("rules", [["a", "--iptables"], ["a"]])
def test_its_rules_can_be_printed(config: Path, rules: list[str]) -> None:
    assert f"mxallowd --print-ruleset {' '.join(rules)} | " in SET_UP
    done = mxallowd("-c", str(config), "--print-ruleset", *rules)
    assert (done.returncode, done.stderr) == (0, "")
    assert "192.0.2.20" in done.stdout


def test_its_commands_are_there() -> None:
    named = re.findall(r"^    mxallowctl ([a-z-]+)", README, re.MULTILINE)
    assert named and set(named) <= set(registry.names())
