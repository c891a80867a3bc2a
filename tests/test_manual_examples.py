"""Each example of the manual pages is run, as it stands there, by a shell and against a running daemon."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapWriter

from documents import ctl
from documents.blocks import Example, Heading
from documents.manual.pages import Page, pages
from lab.hosts import FAKE4, REAL4, Host, Lab
from mxallowd import cli
from mxallowd.process import signals
from mxallowd.settings import build, configfile, sample

NFT_QUEUE, INSTEAD = "queue num 23 bypass", "counter accept"
PROBE = "add table t; add chain t c; add rule t c queue num 1; delete table t"
ROOT = Path(__file__).parent.parent
PAGES = {page.title: page for page in pages()}
# The worst status of commands that answer by it: the host is not in, a lab lacks something, the daemon has just asked.
ANSWERS = {"explain": 1, "doctor": 2, "trust refresh": 1}


def examples(page: Page, section: str) -> list[str]:
    """The examples of a section."""
    found: list[str] = []
    now = ""
    for block in page.blocks:
        if isinstance(block, Heading) and block.level == 2:
            now = block.text
        elif isinstance(block, Example) and now == section:
            found.append(block.text)
    return found


class Operator:
    """Who types the examples, in a gateway whose mxallowd keeps all that it writes in one directory."""

    def __init__(self, host: Host, place: Path) -> None:
        self._host, self._place = host, place
        self._pid = place / "mxallowd.pid"
        config, control = place / "mxallowd.conf", place / "control.sock"
        trusted, access = place / "trusted-senders", place / "postscreen_access.cidr"
        config.write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\nqueue-num 23\n"
                          f"direct-table inet mxallowd\ntrust {trusted}\n", encoding="ascii")
        trusted.write_text("spf example.org\n", encoding="ascii")
        access.write_text("192.0.2.64/26 permit\n192.0.2.130 reject\n", encoding="ascii")
        self._instead = {"/etc/mxallowd.conf": config, "/var/run/mxallowd.pid": self._pid,
                         "/etc/postfix/postscreen_access.cidr": access}
        self._program("mxallowd", "mxallowd", "-c", config, "--user", "root", "--pid-file", self._pid, "--control",
                      control, "--state-dir", place / "state", "--dns-server", "127.0.0.1")
        self._program("mxallowctl", "mxallowd.ctl", "--socket", control)
        if host.run(["nft", PROBE], stderr=subprocess.DEVNULL).returncode:
            # A kernel without the statement `queue`: all else is loaded as it is.
            self._file("nft", f"case $* in -f*) sed 's/{NFT_QUEUE}/{INSTEAD}/' | {shutil.which('nft')} \"$@\" ;;\n"
                              f"*) exec {shutil.which('nft')} \"$@\" ;; esac\n")

    def _program(self, name: str, module: str, *words: "str | Path") -> None:
        self._file(name, f"exec {shlex.join([sys.executable, '-m', module, *map(str, words)])} \"$@\"\n")

    def _file(self, name: str, text: str) -> None:
        file = self._place / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}", encoding="ascii")
        file.chmod(0o755)

    def types(self, script: str) -> str:
        """What is printed. Each command has to succeed."""
        for path, instead in self._instead.items():
            script = script.replace(path, str(instead))
        for command, worst in ANSWERS.items():
            script = re.sub(rf"^(mxallowctl {command}\b.*)$", rf"\1 || [ $? -le {worst} ]", script, flags=re.M)
        environment = os.environ | {"PATH": f"{self._place}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        with (self._place / "errors").open("w+", encoding="utf-8") as errors:
            # What goes to the background keeps its standard error for as long as it starts.
            done = self._host.run(["bash", "-e", "-o", "pipefail", "-c", script], stdout=subprocess.PIPE, stderr=errors,
                                  text=True, timeout=30, cwd=self._place, env=environment)
            errors.seek(0)
            assert done.returncode == 0, f"{script}\n{done.stdout}{errors.read()}"
        return str(done.stdout)

    def stops(self) -> None:
        """The daemon ends, if one runs."""
        if not self._pid.exists():
            return
        number = int(self._pid.read_text(encoding="ascii"))
        os.kill(number, 15)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{number}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.fixture
def operator(lab: Lab, tmp_path: Path) -> Iterator[Operator]:
    found = Operator(lab.gateway, tmp_path)
    try:
        yield found
    finally:
        found.stops()


def test_the_examples_of_both_programs_run(operator: Operator, tmp_path: Path) -> None:
    """Those of mxallowd(8) start a daemon, and in the end one in a dry run, which mxallowctl asks."""
    with PcapWriter(str(tmp_path / "monday.pcap")) as capture:
        capture.write(IP(src="192.0.2.101", dst=FAKE4) / TCP(sport=4000, dport=25, flags="S"))
    printed = {}
    for example in examples(PAGES["mxallowd(8)"], "Examples"):
        if "--dry-run" in example:
            operator.stops()
        printed[example] = operator.types(example)
    rehearsal = next(text for example, text in printed.items() if "monday.pcap" in example)
    assert f"whitelisted [192.0.2.101] fake={FAKE4} " in rehearsal
    assert "mxallowd 2" in next(text for example, text in printed.items() if example.startswith("mxallowctl status"))
    assert "tcp dport 25" in operator.types("nft list table inet mx")

    typed = set[str]()
    for example in examples(PAGES["mxallowctl(8)"], "Examples"):
        operator.types(example)
        typed |= set(example.splitlines())
    assert operator.types("mxallowctl list") == ""
    for example in [one.example for one in ctl.commands() if one.example not in typed]:
        operator.types(example)


def test_the_daemon_takes_the_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGES["mxallowd.conf(5)"]
    required = examples(page, "Description")[0]
    configurations = examples(page, "Examples")
    assert configurations[0] == "\n".join(" ".join(pair).rstrip() for pair in sample.recommended().items())
    files = {"allow": examples(page, "List files")[0], "trust": examples(page, "Trusted senders")[0]}
    # The second example is the line that the first one needs in way a).
    whole = [required, *("\n".join([required, *configurations[:count]]) for count in (1, 2)), *configurations[2:]]
    for configuration in whole:
        assignments, problems, _ = configfile.parse(configuration.encode(), "example")
        settings, more = build(assignments)
        assert settings and [*problems, *more] == [], configuration
    text = required
    for option, content in files.items():
        (tmp_path / option).write_text(f"{content}\n", encoding="ascii")
        text += f"\n{option} {tmp_path / option}"
    (tmp_path / "conf").write_text(f"{text}\n", encoding="ascii")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(signals, "end_at_once", lambda: None)  # it would end this process at a SIGINT
        assert cli.main(["-c", str(tmp_path / "conf"), "--check"]) == 0, capsys.readouterr()
