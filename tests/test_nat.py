"""docs/nat.md: mxallowd on the mail server behind a router, by the rules of the page, and what SNAT makes of it."""
from pathlib import Path

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from lab.namespaces import visit
from tests.daemon_process import SENDER4, DaemonProcess

CLIENT = (SENDER4, "192.0.2.102")
INNER_REAL, INNER_FAKE, ROUTER = "10.0.0.5", "10.0.0.6", "10.0.0.1"
DOCUMENT = Path(__file__).parent.parent / "docs" / "nat.md"


def test_on_the_mail_server_behind_a_router(lab: Lab, client: Host) -> None:
    router, server = lab.gateway, lab.client("server", INNER_REAL, INNER_FAKE)
    router.add_address(f"{ROUTER}/24")
    server.run(["ip", "route", "add", "default", "via", ROUTER], check=True)
    with visit(router.name):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n", encoding="ascii")
    page = DOCUMENT.read_text(encoding="utf-8")
    rules = [line.split() for line in page.splitlines() if line.startswith("    iptables")]
    assert len(rules) == 2
    for rule in rules:
        router.run(rule, check=True)
    servers = ["-c", "/dev/null", "-f", INNER_FAKE, "-r", INNER_REAL, "-n", "23", "-b"]
    lab.load_ruleset("queue.sh", edits={f'fake4="{FAKE4}"': f'fake4="{INNER_FAKE}"',
                                        f'real4="{REAL4}"': f'real4="{INNER_REAL}"'}, host=server)
    with server.serve(INNER_REAL), DaemonProcess(server, servers) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(REAL4, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\] real={INNER_REAL}")
        assert client.attempt(REAL4, source="192.0.2.102", timeout=0.3) is Attempt.DROPPED
        # All senders are one host, and one contact lets in everybody.
        router.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-d", "10.0.0.0/24", "-j", "MASQUERADE"], check=True)
        assert client.attempt(FAKE4) is Attempt.REFUSED
        daemon.wait_for(rf"whitelisted \[{ROUTER}\]")
        assert client.attempt(REAL4, source="192.0.2.102") is Attempt.CONNECTED
