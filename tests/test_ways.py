"""The three ways to run on Linux, end to end with the project's rulesets: real connects, IPv4 and IPv6."""
import json
import signal
import sys
import time

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from lab.namespaces import visit
from mxallowd.dns.hostnames import reverse_name
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nftset import MET_S
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.strategies import packed
from tests.ways import NFT, WAYS, Way, all_ways_and_door, family, in_set, start, ways_with_set

SPAMMER4, SPAMMER6 = "192.0.2.66", "2001:db8::66"
CLIENT = (SENDER4, SENDER6, SPAMMER4, SPAMMER6)
FAMILIES = pytest.mark.parametrize(
    ("sender", "spammer", "fake", "real"),
    [(SENDER4, SPAMMER4, FAKE4, REAL4), (SENDER6, SPAMMER6, FAKE6, REAL6)], ids=["ipv4", "ipv6"])
# The kernel sends a SYN again after 1 s, and again after 3 s.
AGAIN_S = 4.0


@pytest.fixture
def guarded(served: Lab, way: Way) -> Lab:
    """The gateway with a mail server on its real addresses, behind the way's rulesets."""
    served.load_ruleset(*way.rulesets)
    return served


@all_ways_and_door
@FAMILIES
def test_the_sender_gets_in_and_the_spammer_does_not(
        guarded: Lab, client: Host, way: Way, sender: str, spammer: str, fake: str, real: str) -> None:
    with start(guarded, way) as daemon:
        assert client.attempt(real, source=spammer) is Attempt.DROPPED
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        # Way c): its first SYN may be earlier than the set; the second one, a second later, is not.
        assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{sender}\]")
        if way.sets:
            # From here on the kernel lets it pass.
            assert in_set(guarded, way, family("mx_used", sender), sender)
        assert client.attempt(real, source=sender) is Attempt.CONNECTED
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        assert client.attempt(real, source=spammer) is Attempt.DROPPED
        if way.sets:
            assert in_set(guarded, way, family("mx_white", sender), sender) in range(28_790, 28_802)
            assert in_set(guarded, way, family("mx_used", sender), sender) in range(28_790, 28_802)
            assert spammer not in way.members(guarded, family("mx_white", spammer))
        counters = daemon.counters()
        assert (counters["fake-new"], counters["real-first"]) == (1, 1)
        # Way c): the sender's first SYN may have been refused by the kernel, too.
        assert counters["blocked"] in ((2,) if way.queues else (2, 3))
        if way.sets == "nft":
            assert counters["kernel-accepted"] >= 1
        assert daemon.stop() == 0


@ways_with_set
def test_known_senders_pass_without_user_space(guarded: Lab, client: Host, way: Way) -> None:
    """After its first connection nothing of a sender's is seen by the daemon; stopped, it is in nobody's way."""
    with start(guarded, way) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert in_set(guarded, way, "mx_used4", SENDER4)
        before = daemon.counters()["received"]
        for _ in range(20):
            assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert daemon.counters()["received"] == before
        daemon.send(signal.SIGSTOP)
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        daemon.send(signal.SIGCONT)
        assert daemon.stop() == 0


@ways_with_set
@FAMILIES
def test_the_kernel_forgets_by_itself(
        guarded: Lab, client: Host, way: Way, sender: str, spammer: str, fake: str, real: str) -> None:
    with start(guarded, way, "-t", "3") as daemon:
        assert client.attempt(fake, source=sender) is Attempt.REFUSED
        contact = time.monotonic()
        assert in_set(guarded, way, family("mx_white", sender), sender)
        assert client.attempt(real, source=sender, timeout=AGAIN_S) is Attempt.CONNECTED
        assert in_set(guarded, way, family("mx_used", sender), sender)
        # Its time in the kernel is rounded up to a whole second; and for five the kernel lets in a contact by itself.
        ends = 4.2 if way.queues else MET_S + 0.3
        time.sleep(max(0.0, contact + ends - time.monotonic()))
        assert client.attempt(real, source=sender) is Attempt.DROPPED
        assert not way.members(guarded, family("mx_white", sender))
        assert not way.members(guarded, family("mx_used", sender))
        counters = daemon.counters()
        assert (counters["successful"], counters["direct-to-fake"], counters["entries"]) == (1, 0, 0)


@ways_with_set
def test_kill_9_and_restart_leave_set_and_daemon_of_one_mind(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way) as daemon:
        for fake, real, source in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(fake, source=source) is Attempt.REFUSED
            assert in_set(guarded, way, family("mx_white", source), source)
            assert client.attempt(real, source=source, timeout=AGAIN_S) is Attempt.CONNECTED
            assert in_set(guarded, way, family("mx_used", source), source)
        assert client.attempt(FAKE4, source=SPAMMER4) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", SPAMMER4)
        daemon.send(signal.SIGKILL)
        daemon.process.wait(5)
    # With nobody there known senders pass, in every way.
    assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
    before = way.members(guarded, "mx_white4")
    with start(guarded, way) as daemon:
        daemon.wait_for("kernel-table-read table=.* entries=3 adopted=3 complete=yes")
        counters = daemon.counters()
        assert (counters["entries"], counters["fake-new"]) == (3, 0)
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SPAMMER4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert client.attempt(REAL6, source=SENDER6) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SPAMMER4}\]")
        counters = daemon.counters()
        # Who was used before stays used: only the one that had not been there is new.
        assert (counters["fake-new"], counters["real-first"], counters["entries"]) == (0, 1, 3)
        after = way.members(guarded, "mx_white4")
        assert set(after) == {SENDER4, SPAMMER4}
        assert all(after[host] <= before[host] for host in after)


@ways_with_set
def test_a_stop_leaves_the_set_and_flush_on_exit_empties_it(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", SENDER4)
        assert client.attempt(REAL4, source=SENDER4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert in_set(guarded, way, "mx_used4", SENDER4)
        assert daemon.stop() == 0
    assert set(way.members(guarded, "mx_white4")) == {SENDER4}
    assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
    with start(guarded, way, "--flush-on-exit") as daemon:
        assert daemon.stop() == 0
    assert not way.members(guarded, "mx_white4")
    assert not way.members(guarded, "mx_used4")


def flush(lab: Lab, way: Way) -> None:
    """Empty the sets as an operator would, or a script of his."""
    commands = ["nft flush set inet mxallowd mx_white4; nft flush set inet mxallowd mx_used4"] if way.sets == "nft" \
        else ["ipset flush"]
    lab.gateway.run(["sh", "-c", *commands], check=True)


@ways_with_set
def test_a_flushed_set_is_noticed_and_filled_again(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", SENDER4)
        assert client.attempt(REAL4, source=SENDER4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert in_set(guarded, way, "mx_used4", SENDER4)
        flush(guarded, way)
        flushed = time.monotonic()
        assert in_set(guarded, way, "mx_white4", SENDER4, limit_s=10)
        assert time.monotonic() - flushed < 10
        assert in_set(guarded, way, "mx_used4", SENDER4, limit_s=0.5)
        assert "1 of 1 hosts that must be in it are not" in daemon.wait_for("kernel-table-broken ")
        daemon.wait_for("kernel-table-filled table=.* entries=1 left-out=0")
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED


@pytest.mark.parametrize("way", ["queue-set-mark", "set"], indirect=True)
def test_a_ruleset_reload_in_mid_flight(guarded: Lab, client: Host, way: Way) -> None:
    """The operator's file flushes and loads everything in one transaction: the sets are new and empty."""
    with start(guarded, way) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4, timeout=AGAIN_S) is Attempt.CONNECTED
        assert in_set(guarded, way, "mx_used4", SENDER4)
        text = "delete table inet mxallowd\n" + (RULESETS / way.rulesets[0]).read_text(encoding="utf-8")
        guarded.gateway.run(["nft", "-f", "-"], input=text, text=True, check=True)
        assert not way.members(guarded, "mx_white4")
        assert in_set(guarded, way, "mx_white4", SENDER4, limit_s=10)
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        # A change goes on as before.
        assert client.attempt(FAKE6, source=SENDER6) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white6", SENDER6)
        assert daemon.stop() == 0


@pytest.mark.parametrize("way", ["set"], indirect=True)
def test_a_missing_table_is_said_and_filled_when_it_comes(guarded: Lab, client: Host, way: Way) -> None:
    with start(guarded, way) as daemon:
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", SENDER4)
        guarded.gateway.run(["nft", "delete", "table", "inet", "mxallowd"], check=True)
        assert daemon.wait_for("kernel-table-broken ", timeout=10) == (
            'kernel-table-broken table="nft inet mxallowd" reason="table inet mxallowd or its sets are missing"')
        guarded.load_ruleset("set.nft")
        assert in_set(guarded, way, "mx_white4", SENDER4, limit_s=10)
        daemon.wait_for("kernel-table-filled ")


def test_a_wrong_set_is_said_at_the_start_and_mended_later(lab: Lab) -> None:
    def sets(kind: str, flags: str) -> str:
        return f"table inet mx {{\nset mx_white4 {{\ntype {kind}\n{flags}\n}}\nset mx_white6 {{\ntype ipv6_addr\n" \
            "flags timeout\n}\n}\n"

    def load(text: str) -> None:
        lab.gateway.run(["nft", "-f", "-"], input=text, text=True, check=True)

    load(sets("ipv6_addr", "flags timeout"))
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--nft-table", "mx", "-b"]) as daemon:
        assert daemon.wait_for("kernel-table-broken ") == (
            'kernel-table-broken table="nft inet mx" reason="set mx_white4 is of type ipv6_addr, it must be ipv4_addr"')
        daemon.wait_for("start ")
        load("delete table inet mx\n" + sets("ipv4_addr", ""))
        assert "declare it with flags timeout" in daemon.wait_for("kernel-table-broken .*no timeouts", timeout=10)
        load("delete table inet mx\n" + sets("ipv4_addr", "flags timeout"))
        daemon.wait_for("kernel-table-filled ", timeout=10)
        assert daemon.stop() == 0


def test_nft_setup_creates_its_own_table_and_nothing_else(lab: Lab) -> None:
    lab.gateway.run(["nft", "add", "table", "inet", "filter"], check=True)
    with DaemonProcess(
            lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "--nft-table", "mx", "--nft-setup", "-b"]) as daemon:
        daemon.wait_for("start ")
        listing = lab.gateway.run(["nft", "-j", "list", "ruleset"], capture_output=True).stdout
        objects = [next(iter(one.items())) for one in json.loads(listing)["nftables"] if "metainfo" not in one]
        assert {(kind, one["name"]) for kind, one in objects} == {
            ("table", "filter"), ("table", "mx"), ("set", "mx_white4"), ("set", "mx_white6"), ("set", "mx_used4"),
            ("set", "mx_used6"), ("set", "mx_fresh4"), ("set", "mx_fresh6"), ("counter", "mx_refused"),
            ("counter", "mx_accepted"), ("counter", "mx_denied"), ("set", "mx_allow4"), ("set", "mx_allow6"),
            ("set", "mx_deny4"), ("set", "mx_deny6"), ("set", "mx_direct4"), ("set", "mx_direct6")}
        # A reload that forgets it is mended, since that was asked for.
        lab.gateway.run(["nft", "flush", "ruleset"], check=True)
        deadline = time.monotonic() + 10
        while b"mx_white4" not in lab.gateway.run(["nft", "list", "ruleset"], capture_output=True).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert daemon.stop() == 0


def test_without_the_privilege_the_daemon_says_so(lab: Lab) -> None:
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-m", "mxallowd", "-F",
               "-s", "-c", "/dev/null", *SERVERS, "-p", "nflog:5", "-b"]
    done = lab.gateway.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "cannot capture from" in done.stderr


def test_it_works_without_netfilterqueue_and_queue_thread(lab: Lab) -> None:
    """As on a system for which there are none."""
    script = ("import sys; sys.modules['netfilterqueue'] = None; sys.modules['mxallowd.backends._worker'] = None\n"
              "from mxallowd import cli; sys.exit(cli.main(sys.argv[1:]))")
    client = lab.client("client", SENDER4)
    lab.load_ruleset("set.nft")
    arguments = ["-c", "/dev/null", *SERVERS, "-p", "nflog:5", *NFT, "-b"]
    with DaemonProcess(lab.gateway, arguments, script=script) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        daemon.wait_for(r"whitelisted \[192.0.2.101\]")
        assert daemon.stop() == 0
    with DaemonProcess(lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23"], script=script) as daemon:
        assert daemon.process.wait(10) == 1
        assert daemon.process.stderr
        assert "needs the package NetfilterQueue" in daemon.process.stderr.read()


def test_queue_and_capture_in_one_process(lab: Lab) -> None:
    """The queue for one family, the firewall's log for the other: one whitelist."""
    client = lab.client("client", SENDER4, SENDER6)
    lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "NFQUEUE", "--queue-num", "23", programs=["iptables"])
    lab.input_rule("-p", "tcp", "--dport", "25", "--syn", "-j", "NFLOG", "--nflog-group", "5", "--nflog-threshold", "1",
                   programs=["ip6tables"])
    with lab.gateway.serve(REAL4), DaemonProcess(
            lab.gateway, ["-c", "/dev/null", *SERVERS, "-n", "23", "-p", "nflog:5", "-b"]) as daemon:
        assert daemon.wait_for("start ").endswith("queue-num=23 pflog-interface=nflog:5 whitelist-time=28800")
        assert client.attempt(REAL4) is Attempt.DROPPED
        assert client.attempt(FAKE4) is Attempt.REFUSED
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(FAKE6) is Attempt.REFUSED
        daemon.wait_for(r"whitelisted \[2001:db8::101\]")
        counters = daemon.counters()
        assert (counters["entries"], counters["received"], counters["fake-new"]) == (2, 4, 2)
        assert daemon.stop() == 0


@pytest.mark.parametrize("way", ["queue-set-mark"], indirect=True)
def test_the_operators_own_entries_are_never_touched(guarded: Lab, client: Host, way: Way) -> None:
    for name in ("mx_white4", "mx_used4"):
        guarded.gateway.run(["nft", "add", "element", "inet", "mxallowd", name, f"{{ {SENDER4}, 203.0.113.7 }}"],
                            check=True)
    with start(guarded, way) as daemon:
        # Known without any contact, and a contact does not make it a mortal one.
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(FAKE4, source=SPAMMER4) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", SPAMMER4)
        assert way.members(guarded, "mx_white4")[SENDER4] == 0
        guarded.gateway.run(["nft", "delete", "element", "inet", "mxallowd", "mx_white4", f"{{ {SPAMMER4} }}"],
                            check=True)
        daemon.wait_for("kernel-table-filled ", timeout=10)
        assert way.members(guarded, "mx_white4").keys() == {SENDER4, SPAMMER4, "203.0.113.7"}
        assert [way.members(guarded, "mx_white4")[host] for host in (SENDER4, "203.0.113.7")] == [0, 0]
        assert daemon.stop() == 0


@pytest.mark.parametrize("way", ["queue-set-mark"], indirect=True)
def test_a_full_set_is_said_and_holds_whom_it_can(guarded: Lab, client: Host, way: Way) -> None:
    text = "delete table inet mxallowd\n" + (RULESETS / way.rulesets[0]).read_text(encoding="utf-8")
    guarded.gateway.run(["nft", "-f", "-"], input=text.replace("size 2000000", "size 2"), text=True, check=True)
    sources = [f"192.0.2.{number}" for number in range(111, 115)]
    client.add_address(*(f"{source}/24" for source in sources))
    with start(guarded, way) as daemon:
        for source in sources[:2]:
            assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
        assert in_set(guarded, way, "mx_white4", sources[1])
        assert client.attempt(REAL4, source=sources[0]) is Attempt.CONNECTED
        assert in_set(guarded, way, "mx_used4", sources[0])
        for source in sources[2:]:
            assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
        assert 'reason="the set is full"' in daemon.wait_for("kernel-table-broken ")
        daemon.wait_for("kernel-table-filled table=.* entries=4 left-out=2", timeout=12)
        # Who has proven himself comes first, then the newest; verdicts do not depend on it.
        assert way.members(guarded, "mx_white4").keys() == {sources[0], sources[3]}
        assert client.attempt(REAL4, source=sources[1]) is Attempt.CONNECTED
        assert daemon.stop() == 0


def test_children_go_into_the_set(lab: Lab) -> None:
    client = lab.client("client", SENDER4, SPAMMER4)
    lab.load_ruleset("set.nft")
    name = "mail.example.org"
    records = [f"{reverse_name(packed(SENDER4))} PTR {name}.", f"{name} A {SENDER4}", f"{name} A 192.0.2.102"]
    arguments = ["-c", "/dev/null", *SERVERS, "-p", "nflog:5", *NFT, "--dns-server", "127.0.0.1:5353"]
    with NameServerProcess(lab.gateway, records), DaemonProcess(lab.gateway, arguments) as daemon:
        daemon.wait_for("start ")
        assert client.attempt(FAKE4) is Attempt.REFUSED
        daemon.wait_for(r"child \[192.0.2.102\]")
        assert in_set(lab, WAYS["set"], "mx_white4", "192.0.2.102", limit_s=1)
        assert daemon.stop() == 0


@pytest.mark.alone
@pytest.mark.parametrize("way", ["door"], indirect=True)
def test_a_change_is_in_the_kernel_within_50_ms(guarded: Lab, client: Host, way: Way) -> None:
    """From the packet to the set, for 100 hosts, one by one: the kernel is asked all the time."""
    addresses = [f"192.0.2.{number}" for number in range(121, 221)]
    client.add_address(*(f"{address}/24" for address in addresses))
    taken = []
    with visit(guarded.gateway.name):
        elements = NfQuery("inet", "mxallowd")
    try:
        with start(guarded, way) as daemon:
            for address in addresses:
                started = time.monotonic()
                assert client.attempt(FAKE4, source=address) is Attempt.REFUSED
                key = packed(address)[12:]
                # At the door the kernel has entered it before, for five seconds.
                while float(elements.get("mx_white4", [key]).get(key, 0)) <= MET_S:
                    assert time.monotonic() - started < 2
                taken.append(time.monotonic() - started)
            assert daemon.stop() == 0
    finally:
        elements.close()
    assert sorted(taken)[98] < 0.05, sorted(taken)[-5:]


@pytest.mark.parametrize("way", ["set"], indirect=True)
def test_the_kernel_can_enter_hosts_itself(guarded: Lab, client: Host, way: Way) -> None:
    """The variation of docs/firewall.md: nolisting goes on without the daemon, and with it nothing changes."""
    text = (RULESETS / "set.nft").read_text(encoding="utf-8").replace("flags timeout", "flags dynamic,timeout").replace(
        "\t\tlog group 5 snaplen 128 queue-threshold 1\n\t\treject",
        "\t\tadd @mx_white4 { ip saddr timeout 1h }\n\t\tadd @mx_white6 { ip6 saddr timeout 1h }\n"
        "\t\tlog group 5 snaplen 128 queue-threshold 1\n\t\treject")
    assert text.count("timeout 1h") == 2
    guarded.gateway.run(["nft", "-f", "-"], input="delete table inet mxallowd\n" + text, text=True, check=True)
    assert client.attempt(REAL4, source=SENDER4) is Attempt.DROPPED
    for fake, real, source in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
        assert client.attempt(fake, source=source) is Attempt.REFUSED
        assert client.attempt(real, source=source) is Attempt.CONNECTED
    with start(guarded, way) as daemon:
        assert daemon.counters()["entries"] == 2
        assert client.attempt(FAKE4, source=SPAMMER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SPAMMER4) is Attempt.CONNECTED
        daemon.wait_for(rf"accepted \[{SPAMMER4}\]")
        assert in_set(guarded, way, "mx_used4", SPAMMER4)
        counters = daemon.counters()
        assert (counters["fake-new"], counters["real-first"], counters["kernel-table-failed"]) == (1, 1, 0)
        assert daemon.stop() == 0
