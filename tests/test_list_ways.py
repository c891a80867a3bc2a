"""Allowed and denied networks in the daemon, in every way that has sets: in step after reload, and after all else."""
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.ways import NFT, Way, start, ways_with_set

ALLOWED4, ALLOWED6, DENIED4, DENIED6 = "192.0.2.65", "2001:db8::65", "192.0.2.129", "2001:db8::129"
CLIENT = (SENDER4, SENDER6, ALLOWED4, ALLOWED6, DENIED4, DENIED6)
ALLOW = ("--allow", "192.0.2.64/27", "--allow", "2001:db8::60/124")
DENY = ("--deny", "192.0.2.128/26", "--deny", "2001:db8::120/124")


@pytest.fixture
def guarded(served: Lab, way: Way) -> Lab:
    """The gateway with a mail server on its real addresses, behind the way's rulesets."""
    served.load_ruleset(*way.rulesets)
    return served


def held(lab: Lab, way: Way, name: str) -> str:
    """What the operator's program shows of a set."""
    command = ["nft", "list", "set", "inet", "mxallowd", name] if way.sets == "nft" else ["ipset", "save", name]
    return str(lab.gateway.run(command, capture_output=True, text=True).stdout)


def wait_until(lab: Lab, way: Way, name: str, text: str, *, there: bool = True, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while (text in held(lab, way, name)) is not there:
        assert time.monotonic() < deadline, held(lab, way, name)
        time.sleep(0.02)


@ways_with_set
def test_lists_hold_in_the_kernel_and_follow_a_reload(guarded: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    file = tmp_path / "allowed"
    file.write_text("192.0.2.64/27\n2001:db8::60/124\n", encoding="ascii")
    with start(guarded, way, "--allow", str(file), *DENY) as daemon:
        wait_until(guarded, way, "mx_allow4", "192.0.2.64/27")
        wait_until(guarded, way, "mx_deny6", "2001:db8::120/124")
        for real, fake, allowed, denied, sender in ((REAL4, FAKE4, ALLOWED4, DENIED4, SENDER4),
                                                    (REAL6, FAKE6, ALLOWED6, DENIED6, SENDER6)):
            assert client.attempt(real, source=allowed) is Attempt.CONNECTED
            assert client.attempt(fake, source=denied) is Attempt.REFUSED
            assert client.attempt(real, source=denied) is Attempt.DROPPED
            assert client.attempt(real, source=sender) is Attempt.DROPPED
        assert daemon.counters()["entries"] == 0
        file.write_text("192.0.2.100/30 # moved\n", encoding="ascii")
        daemon.send(signal.SIGHUP)
        wait_until(guarded, way, "mx_allow4", "192.0.2.100/30")
        assert "192.0.2.64/27" not in held(guarded, way, "mx_allow4")
        wait_until(guarded, way, "mx_allow6", "2001:db8::60/124", there=False)
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=ALLOWED4) is Attempt.DROPPED
        # Nobody is there: what is denied and allowed stays so.
        daemon.send(signal.SIGSTOP)
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=DENIED4) is Attempt.DROPPED
        daemon.send(signal.SIGCONT)
        assert daemon.stop() == 0
    assert "192.0.2.100/30" in held(guarded, way, "mx_allow4")
    with start(guarded, way, "--flush-on-exit", *ALLOW) as daemon:
        wait_until(guarded, way, "mx_allow4", "192.0.2.64/27")
        wait_until(guarded, way, "mx_deny4", "192.0.2.128/26", there=False)
        assert daemon.stop() == 0
    assert "192.0.2." not in held(guarded, way, "mx_allow4")


@ways_with_set
def test_sets_that_were_emptied_or_replaced_are_filled(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way, *ALLOW, *DENY) as daemon:
        wait_until(guarded, way, "mx_deny4", "192.0.2.128/26")
        if way.sets == "nft":
            text = "delete table inet mxallowd\n" + (RULESETS / way.rulesets[0]).read_text(encoding="utf-8")
            guarded.gateway.run(["nft", "-f", "-"], input=text, text=True, check=True)
        else:
            guarded.gateway.run(["sh", "-c", "for set in mx_allow4 mx_deny4 mx_allow6 mx_deny6; do ipset flush $set; "
                                 "done"], check=True)
        assert "192.0.2." not in held(guarded, way, "mx_deny4")
        wait_until(guarded, way, "mx_deny4", "192.0.2.128/26")
        wait_until(guarded, way, "mx_allow6", "2001:db8::60/124", limit_s=1)
        assert client.attempt(REAL6, source=ALLOWED6) is Attempt.CONNECTED
        assert client.attempt(REAL4, source=DENIED4) is Attempt.DROPPED
        assert daemon.stop() == 0


def test_nft_setup_makes_them(lab: Lab) -> None:
    arguments = ["-c", "/dev/null", *SERVERS, "-n", "23", "-b", *NFT, "--nft-setup", *DENY]
    with DaemonProcess(lab.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        daemon.wait_for("kernel-lists-filled table=.* set=mx_deny6 ranges=1")
        listed = lab.gateway.run(["nft", "list", "table", "inet", "mxallowd"], capture_output=True, text=True).stdout
        assert all(f"set mx_{name} " in listed for name in ("allow4", "allow6", "deny4", "deny6"))
        assert "192.0.2.128/26" in listed
        assert not any("kernel-lists-missing" in line for line in daemon.messages())
        assert daemon.stop() == 0


def test_a_ruleset_without_them_is_said_once(lab: Lab) -> None:
    lab.gateway.run(["nft", "-f", "-"], input=(
        "table inet mxallowd {\n set mx_white4 { type ipv4_addr; flags timeout; }\n"
        " set mx_white6 { type ipv6_addr; flags timeout; }\n}\n"), text=True, check=True)
    arguments = ["-c", "/dev/null", *SERVERS, "-p", "nflog:5", "-b", *NFT, "--deny", "192.0.2.128/26"]
    with DaemonProcess(lab.gateway, arguments) as daemon:
        line = daemon.wait_for("kernel-lists-missing ")
        assert "set=mx_deny4" in line
        assert "the lists do nothing there" in line
        time.sleep(3.5)
        assert sum("kernel-lists-missing" in one for one in daemon.messages()) == 1
        made = line.partition("`")[2].partition("`")[0]
        subprocess.run(lab.gateway.command(["sh", "-c", made]), check=True)
        daemon.wait_for("kernel-lists-filled table=.* set=mx_deny4 ranges=1")
        assert daemon.stop() == 0
