"""A group of NFLOG, whatever threshold its rule has: what is logged comes at once, and a flood is still counted."""
import time

import pytest

from lab.hosts import FAKE4, Attempt, Host, Lab
from tests.daemon_process import SENDER4, SERVERS, DaemonProcess

AT_ONCE_S = 0.5  # the kernel waits for a second at the most; a busy machine needs some hundredths


@pytest.mark.parametrize("threshold", [[], ["--nflog-threshold", "50"], ["--nflog-threshold", "1"]],
                         ids=["none", "fifty", "one"])
def test_a_contact_is_read_at_once(lab: Lab, client: Host, threshold: list[str]) -> None:
    """Three contacts, so that none of them is saved by the end of a second that began with another one."""
    lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "NFLOG", "--nflog-group", "5", *threshold,
                   programs=["iptables"])
    others = [lab.client(f"other{number}", f"192.0.2.{number}") for number in (102, 103)]
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-b", "-p", "nflog:5"]) as process:
        process.wait_for("start ")
        took = []
        for host, address in ((client, SENDER4), (others[0], "192.0.2.102"), (others[1], "192.0.2.103")):
            began = time.monotonic()
            assert host.attempt(FAKE4) is Attempt.REFUSED
            process.wait_for(rf"whitelisted \[{address}\]")
            took.append(time.monotonic() - began)
            time.sleep(0.2)
        assert max(took) < AT_ONCE_S, took
        assert not [message for message in process.messages() if message.startswith("degraded reason=\"nflog")]
