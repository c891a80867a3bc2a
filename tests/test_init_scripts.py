"""The scripts for sysvinit, OpenRC and the BSDs: their form, and those of the BSDs before functions that stand in.

sysvinit and OpenRC themselves run them in tests/systems (scripts/test-init).
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon_process import SERVERS

PACKAGING = Path(__file__).parent.parent / "packaging"
SCRIPTS = [PACKAGING / name for name in (
    "sysv/mxallowd", "openrc/mxallowd", "bsd/freebsd", "bsd/openbsd", "bsd/netbsd")]
GOOD = "".join(f"{kind} {address}\n" for kind, address in zip(
    ("fake-mailserver", "fake-mailserver", "real-mailserver", "real-mailserver"), SERVERS[1::2], strict=True))
# What `rc.subr` would do with what a script has set: the checks before an action, then the action.
STAND_IN = r"""
load_rc_config() { :; }
warn() { echo "warning: $*" >&2; }
run_rc_command() {
    eval "check=\${$1_precmd:-} action=\${$1_cmd:-}"
    [ -z "$check" ] || $check || return 1
    if [ -n "$action" ]; then $action; else echo "$1: $command $command_args"; fi
}
rc_cmd() {
    case $1 in start|reload) rc_configtest || return 1 ;; esac
    echo "$1: $daemon $daemon_flags"
}
"""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_shell_reads_it(path: Path) -> None:
    assert path.stat().st_mode & 0o111 == 0o111
    for shell in ("dash", "ksh", "mksh", "bash"):
        if shutil.which(shell):
            done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_header_of_the_standard_base() -> None:
    text = SCRIPTS[0].read_text(encoding="utf-8")
    header = text.partition("### BEGIN INIT INFO\n")[2].partition("### END INIT INFO\n")[0]
    found = dict(re.findall(r"^# ([\w-]+): +(.*)$", header, re.MULTILINE))
    assert {"Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop", "Short-Description",
            "Description"} <= found.keys()
    assert found["Provides"] == "mxallowd"
    assert not set(found["Default-Start"].split()) & set(found["Default-Stop"].split())
    # It filters before the mail server serves, and its log is there.
    assert "$syslog" in found["Required-Start"].split()
    assert "postfix" in found["X-Start-Before"].split()


@pytest.mark.parametrize("system", ["freebsd", "netbsd", "openbsd"])
@pytest.mark.parametrize(("more", "said"), [
    ("", ""), ("whitelist-time never", '"never"'), (None, "nothing is set up in")], ids=["good", "broken", "unfilled"])
def test_nothing_starts_with_a_broken_configuration(tmp_path: Path, system: str, more: str | None, said: str) -> None:
    program, config, rc = tmp_path / "mxallowd", tmp_path / "mxallowd.conf", tmp_path / "rc.subr"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mxallowd "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    # A file is the source here, since no machine of the tests has pflog0.
    (tmp_path / "empty.pcap").write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    config.write_text("# Nothing yet.\n" if more is None else
                      f"{GOOD}pflog-interface file:{tmp_path}/empty.pcap\n{more}\n", encoding="utf-8")
    rc.write_text(STAND_IN, encoding="utf-8")
    script = tmp_path / "script"
    script.write_text((PACKAGING / "bsd" / system).read_text(encoding="utf-8").replace("$_rc_subr_loaded .", ".")
                      .replace(". /etc/rc.subr", f". {rc}").replace(". /etc/rc.d/rc.subr", f". {rc}")
                      .replace("/usr/pkg/bin/mxallowd", str(program)).replace("/usr/local/bin/mxallowd", str(program))
                      .replace("/usr/pkg/etc/mxallowd.conf", str(config)), encoding="utf-8")
    for word in ("start", "reload") if more else ("start",):
        done = subprocess.run(
            ["ksh" if system == "openbsd" and shutil.which("ksh") else "sh", script, word], capture_output=True,
            text=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PACKAGING.parent),
                            "mxallowd_config": str(config), "daemon_flags": f"-c {config}"})
        if said:
            assert done.returncode == 1
            assert said in done.stdout + done.stderr
            assert f"{word}: " not in done.stdout
        else:
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"start: {'/usr/sbin/daemon -r ' if system == 'freebsd' else program}" in done.stdout
            assert str(config) in done.stdout
