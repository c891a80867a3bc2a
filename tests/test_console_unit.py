"""The console's unit of systemd: its own judgement of it, and that it agrees with the command."""
import re
import subprocess
from pathlib import Path

from mxallowd.console import command, settings

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "packaging" / "systemd" / "mxallowd-console.service"
WORST_EXPOSURE = 1.4  # it listens, has a group by which it asks mxallowd, and gives up what a drop-in has given


def lines(key: str) -> list[str]:
    """The values of a key."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_unit_is_clean_and_its_exposure_small(tmp_path: Path) -> None:
    unit = tmp_path / "mxallowd-console.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/mxallowd-console", "/bin/true"),
                    encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
                          capture_output=True, text=True)
    found = re.search(r"Overall exposure level for mxallowd-console.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= WORST_EXPOSURE


def test_it_agrees_with_the_defaults_of_the_command() -> None:
    assert lines("ConditionPathExists") == [settings.USERS]
    assert lines("User") == lines("Group") == [settings.USER]
    assert [str(Path("/var/lib", one)) for one in lines("StateDirectory")] == [settings.STATE_DIR]
    assert lines("RestartPreventExitStatus") == [str(command.NOT_SET_UP)]
    assert lines("ExecStart") == [f"/usr/local/bin/{settings.PROGRAM} {settings.SERVE} $OPTIONS"]
    assert lines("CapabilityBoundingSet") == lines("AmbientCapabilities") == [""]


def test_the_page_makes_what_it_starts() -> None:
    page = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    assert re.search(r"^    ln -sf \S+/bin/mxallowd-console /usr/local/bin/mxallowd-console$", page, re.MULTILINE)
    assert f"mxallowd/data/{UNIT.name} /etc/systemd/system/\n" in page
    assert lines("EnvironmentFile") == ["-/etc/default/mxallowd-console"] and "/etc/default/mxallowd-console" in page
