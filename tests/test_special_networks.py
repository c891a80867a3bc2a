"""The special networks of docs/firewall.md, by the rules that stand there: DNAT, NOTRACK, SYNPROXY."""
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from lab.namespaces import visit
from tests.daemon_process import SENDER4, SENDER6, DaemonProcess
from tests.test_connections import connected, table_of_connections, talk
from tests.test_rulesets import NOTRACK
from tests.ways import DOORS, WAYS, Way

INNER4, OTHER4 = "10.0.0.5", "192.0.2.102"
DOCUMENT = Path(__file__).parent.parent / "docs" / "firewall.md"
AGAIN_S = 4.0
MANGLE = {"table=filter chains=INPUT": "table=mangle chains=PREROUTING"}
PREROUTING = {"type filter hook input priority security": "type filter hook prerouting priority mangle"}
# queue-set-mark.nft says so itself: its marks must be there before the rules of iptables.
MARK_BEFORE = {"\t\t# type filter hook prerouting": "\t\ttype filter hook prerouting",
               "\t\ttype filter hook input priority filter - 5; policy accept;\n": ""}
IN_FRONT = {"queue": MANGLE, "queue-set-mark": MANGLE | MARK_BEFORE, "queue-set-ipset": MANGLE, "set-ipset": MANGLE,
            "set": PREROUTING}
in_front = pytest.mark.parametrize("way", IN_FRONT, indirect=True)


@pytest.fixture
def edits(request: pytest.FixtureRequest) -> dict[str, str]:
    """Those that let the way's rules stand in front of NAT and of the table filter."""
    return IN_FRONT[request.node.callspec.params["way"]]


def rules(section: str) -> list[str]:
    """The commands of a section."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(f"\n### {section}\n")[2].partition("\n##")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def apply(host: Host, section: str, programs: tuple[str, ...] = ("iptables",)) -> None:
    """Run them, for IPv6 as well where that is asked."""
    commands = rules(section)
    assert commands
    for command in commands:
        for program in programs if command.startswith("iptables ") else ("",):
            words = [program, *command.split()[1:]] if program else command.split()
            if program == "ip6tables":
                words = [word.replace(REAL4, REAL6) for word in words]
            host.run(words, check=True, capture_output=True)


def start(lab: Lab, way: Way, real: tuple[str, ...] = (REAL4, REAL6)) -> DaemonProcess:
    """The daemon as the way has it, with these real servers."""
    servers = ["-f", FAKE4, "-f", FAKE6, *(word for one in real for word in ("-r", one))]
    process = DaemonProcess(lab.gateway, ["-c", "/dev/null", *servers, *way.arguments, "-b"])
    process.wait_for("start ")
    return process


def proven(daemon: DaemonProcess, wanted: int) -> bool:
    """Whether so many hosts have completed a connection, by what the kernel told."""
    until = time.monotonic() + 2
    while (found := daemon.counters()["proven"]) != wanted and time.monotonic() < until:
        time.sleep(0.05)
    return found == wanted


@pytest.fixture
def inner(lab: Lab) -> Iterator[Host]:
    """The mail server behind the gateway, which forwards port 25 of the real address to it."""
    host = lab.client("inner", INNER4)
    lab.gateway.add_address("10.0.0.1/24")
    host.run(["ip", "route", "add", "default", "via", "10.0.0.1"], check=True)
    with visit(lab.gateway.name):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n", encoding="ascii")
    apply(lab.gateway, "The real server behind DNAT")
    with host.serve(INNER4):
        yield host


@in_front
def test_dnat_with_the_rules_in_front(
        lab: Lab, client: Host, inner: Host, way: Way, edits: dict[str, str]) -> None:
    """mxallowd has the public address. Rules of the table filter come later."""
    lab.load_ruleset(*way.rulesets, edits=edits)
    with start(lab, way) as daemon:
        assert client.attempt(REAL4, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4, timeout=AGAIN_S) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\] real={REAL4}")
        assert proven(daemon, 1)
        lab.gateway.run(["iptables", "-A", "FORWARD", "-s", SENDER4, "-j", "DROP"], check=True)
        assert client.attempt(REAL4, timeout=0.3) is Attempt.DROPPED


@pytest.mark.parametrize("way", DOORS, indirect=True)
def test_dnat_behind_the_door(lab: Lab, client: Host, inner: Host, way: Way) -> None:
    """mxallowd and the sets have the public addresses. What iptables drops later stays dropped."""
    lab.load_ruleset(*way.rulesets, edits={"\t#direct ": "\t", f"direct4 = {REAL4}": f"direct4 = {INNER4}"})
    with start(lab, way) as daemon:
        assert client.attempt(REAL4, timeout=0.1) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\] real={REAL4}")
        assert proven(daemon, 1)
        lab.gateway.run(["iptables", "-A", "FORWARD", "-s", SENDER4, "-j", "DROP"], check=True)
        assert client.attempt(REAL4, timeout=0.1) is Attempt.DROPPED
        lab.gateway.run(["iptables", "-F", "FORWARD"], check=True)
        daemon.stop()
    # Who tries the fake server alone is led on from there, and makes no contact.
    lab.gateway.run(["nft", "add", "element", "inet", "mxallowd", "mx_direct4", f"{{ {OTHER4} }}"], check=True)
    client.add_address(f"{OTHER4}/24")
    assert client.attempt(FAKE4, source=OTHER4) is Attempt.CONNECTED
    assert OTHER4 not in way.members(lab, "mx_white4")


@pytest.mark.parametrize("way", ["queue", "queue-set-ipset", "set-ipset"], indirect=True)
def test_dnat_with_the_rules_in_forward(lab: Lab, client: Host, inner: Host, way: Way) -> None:
    """mxallowd has the inner address."""
    lab.load_ruleset(*way.rulesets, edits={"table=filter chains=INPUT": 'table=filter chains="INPUT FORWARD"',
                                           f'real4="{REAL4}"': f'real4="{INNER4}"'})
    with start(lab, way, real=(INNER4,)) as daemon:
        assert client.attempt(REAL4, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4, timeout=AGAIN_S) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SENDER4}\] real={INNER4}")
        assert proven(daemon, 1)


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("edited", [False, True])
def test_without_connection_tracking(lab: Lab, client: Host, way: Way, edited: bool) -> None:
    """With the rule that asks for it, and without: the SYN alone counts, and nobody is proven."""
    apply(lab.gateway, "Port 25 without connection tracking", ("iptables", "ip6tables"))
    lab.load_ruleset(*way.rulesets, tracked=not edited)
    with start(lab, way) as daemon:
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            with lab.gateway.serve(real):
                assert client.attempt(real, source=sender, timeout=0.3) is Attempt.DROPPED
                assert client.attempt(fake, source=sender) is Attempt.REFUSED
                assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        assert table_of_connections(lab) == 0
        assert daemon.counters()["proven"] == 0


@pytest.mark.parametrize("name", ["queue.sh", "set.nft", "door.nft"])
def test_notrack_is_for_port_25_of_the_servers(lab: Lab, client: Host, name: str) -> None:
    """Others are tracked on, the host's own mail and what its programs send by lo among them. Nobody serves a queue."""
    lab.input_rule("-m", "conntrack", "--ctstate", "ESTABLISHED")
    lab.load_ruleset(name, edits=NOTRACK if name.endswith(".nft") else {"track=yes": "track=notrack"})
    for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        with connected(lab, client, real) as (near, far):
            talk(near, far)
        assert table_of_connections(lab) == 0
    for from_, to, server in ((lab.gateway, client, SENDER4), (lab.gateway, lab.gateway, REAL4)):
        with to.serve(server):
            assert from_.attempt(server) is Attempt.CONNECTED
    assert table_of_connections(lab) == 2


@in_front
def test_synproxy(lab: Lab, client: Host, way: Way, edits: dict[str, str]) -> None:
    """Unknown hosts get no SYN-ACK of the proxy; of known ones each connection comes to the server, and data flows."""
    lab.load_ruleset(*way.rulesets, edits=edits)
    apply(lab.gateway, "SYNPROXY", ("iptables", "ip6tables"))
    with start(lab, way) as daemon:
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(real, source=sender, timeout=0.3) is Attempt.DROPPED
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            if way.sets:
                way.wait_for(lab, f"mx_white{6 if ':' in real else 4}", sender)
            for _ in range(2):
                with connected(lab, client, real) as (near, far):
                    talk(near, far)
            daemon.wait_for(rf"accepted \[{sender}\]")
        # The proxy's own SYN is not seen: one of each attempt is.
        assert proven(daemon, 2)
