"""Hosts that try the first MX alone, led from the fake server to the real one by the rules of each way."""
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Attempt, Host, Lab
from mxallowd.ctl.__main__ import main as ctl
from mxallowd.firewall.wanted import Wanted
from tests.control_client import ask
from tests.daemon_process import SENDER4, SENDER6, SERVERS, DaemonProcess
from tests.name_server_process import NameServerProcess
from tests.test_list_files import old
from tests.test_special_networks import INNER4, inner  # noqa: F401  # a fixture
from tests.until import until
from tests.ways import NFT, WAYS, Way, all_ways_and_door, start

TRUSTED4, TRUSTED6, HAND4, HAND6, LEARNED4, LINE4, NAMED4, LISTED4 = (
    "192.0.2.65", "2001:db8::65", "192.0.2.66", "2001:db8::66", *(f"192.0.2.{last}" for last in (67, 68, 69, 70)))
CLIENT = (SENDER4, SENDER6, TRUSTED4, TRUSTED6, HAND4, HAND6, LEARNED4, LINE4, NAMED4, LISTED4)
RECORDS = ["67.2.0.192.in-addr.arpa PTR crm.example.org", f"crm.example.org A {LEARNED4}",
           "68.2.0.192.in-addr.arpa PTR 192-0-2-68.dyn.example.net", f"192-0-2-68.dyn.example.net A {LINE4}",
           "69.2.0.192.in-addr.arpa PTR a.mx.example.com", f"a.mx.example.com A {NAMED4}",
           "70.2.0.192.list.example A 127.0.5.2"]


def led(way: Way, real4: str = REAL4) -> dict[str, str]:
    """What an operator changes in the way's rulesets, so that direct hosts are led to this address."""
    if way.sets == "nft":
        return {"#direct ": "", "define direct4 = 192.0.2.20": f"define direct4 = {real4}"}
    return {'direct4="" direct6=""': f'direct4="{real4}" direct6="{REAL6}"'}


def table(way: Way) -> tuple[str, ...]:
    """Where the daemon finds the sets, where the way has no others."""
    return () if way.sets else ("--direct-table", "ipset")


def becomes(client: Host, address: str, source: str, wanted: Attempt) -> bool:
    """Whether an attempt comes to this within some seconds."""
    return until(lambda: client.attempt(address, source=source, timeout=2) is wanted)


def gets_in(asked: Callable[[], tuple[int, Any]]) -> bool:
    """Whether explain says so now."""
    return bool(asked()[1]["gets_in"])


@all_ways_and_door
def test_the_first_attempt_comes_to_the_real_server(
        served: Lab, client: Host, way: Way, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a line of trusted senders, and by hand; both families. Nobody else is led, and it is no contact."""
    served.load_texts(way.printed(Wanted(direct=True)))
    file = tmp_path / "trust"
    file.write_text(f"network {TRUSTED4} first-mx-only # scanner\nnetwork {TRUSTED6} first-mx-only\n", encoding="ascii")
    with start(served, way, "--trust", str(old(file)), *table(way)) as daemon:
        for name in ("mx_direct4", "mx_direct6", *(("mx_allow4", "mx_allow6") if way.sets else ())):
            daemon.wait_for(f"kernel-lists-filled .*set={name} ranges=1")
        for fake, trusted, hand, stranger in ((FAKE4, TRUSTED4, HAND4, SENDER4), (FAKE6, TRUSTED6, HAND6, SENDER6)):
            assert client.attempt(fake, source=trusted) is Attempt.CONNECTED
            assert client.attempt(fake, source=stranger) is Attempt.REFUSED
            socket = ("--socket", str(daemon.control))
            assert ctl([*socket, "direct", "add", hand, "--time", "60", "--note", "scanner"]) == 0
            assert becomes(client, fake, hand, Attempt.CONNECTED)
            # The set that leads it may be filled before the one that lets it in.
            asked = partial(ask, daemon.control, "GET", f"/v1/explain/{hand}")
            assert until(partial(gets_in, asked))
            said = asked()[1]
            assert said["direct"]["where"] == "by hand"
            if way.sets:
                assert said["next"][0]["outcome"] == "fake-led"
        assert ctl([*socket, "direct", "list"]) == 0
        assert re.search(rf"  {HAND4}/32 +until \S+ .*# scanner\n  {HAND6}/128 .*# scanner\n", capsys.readouterr().out)
        assert ctl([*socket, "explain", TRUSTED4]) == 0
        said = capsys.readouterr().out
        assert f"direct: led from the fake server to the real one by {TRUSTED4}/32, {file}:1" in said
        assert f"next to fake {FAKE4}: accept" in said
        assert "it is led to the real server" in said
        # The others alone have met the fake server.
        daemon.wait_for(rf"whitelisted \[{SENDER4}\]")
        met = [line for line in daemon.messages() if line.startswith("whitelisted ")]
        assert not any(one in line for line in met for one in (f"[{TRUSTED4}]", f"[{TRUSTED6}]"))
        assert ctl([*socket, "direct", "remove", HAND4]) == 0
        assert becomes(client, FAKE4, HAND4, Attempt.REFUSED)
        assert ask(daemon.control, "DELETE", "/v1/entries")[0] == 200
        assert becomes(client, FAKE6, HAND6, Attempt.REFUSED)
        assert client.attempt(FAKE6, source=TRUSTED6) is Attempt.CONNECTED
        assert daemon.stop() == 0
    # Nobody leads hosts but the rules.
    assert client.attempt(FAKE4, source=TRUSTED4) is Attempt.CONNECTED


@pytest.mark.parametrize("way", ["queue", "set"], indirect=True)
def test_who_meets_the_fake_again_and_again_is_learned(served: Lab, client: Host, way: Way, tmp_path: Path) -> None:
    """Its name is confirmed and no dial-up line's; it stays over a restart.

    Hosts of trusted names and lists have to meet the fake server once.
    """
    file = tmp_path / "trust"
    file.write_text("domain mx.example.com first-mx-only\ndnswl list.example first-mx-only\n", encoding="ascii")
    served.load_texts(way.printed(Wanted(direct=True)))
    arguments = ["-c", "/dev/null", *SERVERS, *way.arguments, *table(way), "--direct-after", "2/4s",
                 "--dns-server", "127.0.0.1:5353", "--state-dir", str(tmp_path / "state"),
                 "--trust", str(old(file))]
    with NameServerProcess(served.gateway, RECORDS):
        with DaemonProcess(served.gateway, arguments) as daemon:
            daemon.wait_for("start ")
            for source in (LEARNED4, LINE4, SENDER4, NAMED4, LISTED4):
                assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
            # Who goes on to the real server does not need it.
            assert client.attempt(REAL4, source=SENDER4, timeout=4.5) is Attempt.CONNECTED
            time.sleep(1.1)
            for source in (LEARNED4, LINE4, SENDER4):
                assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
            daemon.wait_for(rf"direct \[{LEARNED4}\] name=crm.example.org times=2 seconds=28800")
            for source in (LEARNED4, NAMED4, LISTED4):
                assert becomes(client, FAKE4, source, Attempt.CONNECTED), source
            for source in (LINE4, SENDER4):
                assert client.attempt(FAKE4, source=source) is Attempt.REFUSED
            assert until(lambda: daemon.counters()["direct-unfit"])
            assert daemon.counters()["direct-learned"]
            assert ask(daemon.control, "GET", f"/v1/explain/{LINE4}")[1]["direct"] is None
            said = ask(daemon.control, "GET", f"/v1/explain/{LEARNED4}")[1]
            assert (said["direct"]["where"], said["direct"]["note"]) == ("learned", "crm.example.org")
            exported = ask(daemon.control, "GET", "/v1/export")[1]
            assert [one["verdict"] for one in exported if one.get("network") == f"{LEARNED4}/32"] == ["learned"]
            assert daemon.stop() == 0
        with DaemonProcess(served.gateway, arguments) as daemon:
            daemon.wait_for("start ")
            assert becomes(client, FAKE4, LEARNED4, Attempt.CONNECTED)
            assert ask(daemon.control, "DELETE", "/v1/lists/direct", {"network": LEARNED4})[1] == {"removed": 1}
            assert becomes(client, FAKE4, LEARNED4, Attempt.REFUSED)


IN_FRONT: Mapping[str, dict[str, str]] = {
    "queue-set-ipset": {"table=filter chains=INPUT": "table=mangle chains=PREROUTING"},
    "set": {"type filter hook input priority security": "type filter hook prerouting priority mangle"}}


@pytest.mark.parametrize("way", IN_FRONT, indirect=True)
def test_rules_in_front_of_nat_see_no_contact(
        lab: Lab, client: Host, inner: Host, way: Way, request: pytest.FixtureRequest) -> None:  # noqa: F811
    """The real server is another host behind the gateway, and the fake one leads to it as well."""
    lab.load_ruleset(*way.rulesets, edits=led(way, INNER4) | IN_FRONT[request.node.callspec.params["way"]])
    with start(lab, way) as daemon:
        ask(daemon.control, "POST", "/v1/lists/direct", {"network": HAND4})
        for name in ("mx_direct4", "mx_allow4"):
            daemon.wait_for(f"kernel-lists-filled .*set={name} ranges=1")
        assert client.attempt(FAKE4, source=HAND4) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert not any(f"whitelisted [{HAND4}]" in line for line in daemon.messages())


def test_without_sets_it_is_said_once(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither does a ruleset without them do any harm: it works as before."""
    file = tmp_path / "trust"
    file.write_text(f"network {TRUSTED4} first-mx-only\n", encoding="ascii")
    trust = ("--trust", str(old(file)))
    with start(lab, WAYS["queue"], *trust) as daemon:
        daemon.wait_for("direct-off reason=.*direct-table")
        assert ctl(["--socket", str(daemon.control), "direct", "add", HAND4]) == 1
        assert f"{HAND4} is allowed now, but nobody is led to the real server: neither nft-" in capsys.readouterr().err
    with start(lab, WAYS["queue"], *trust, "--direct-table", NFT[1]) as daemon:
        line = daemon.wait_for("kernel-lists-missing .*set=mx_direct4")
        assert "nft add set inet mxallowd mx_direct4 '{ type ipv4_addr; flags interval; }'" in line


def test_a_ruleset_without_direct_takes_it_back(lab: Lab) -> None:
    """The addresses taken out again, and those of one family."""
    name = "queue-set-ipset.sh"
    rules = {program: [program, "-t", "nat", "-S"] for program in ("iptables", "ip6tables")}
    lab.load_ruleset(name, edits={'direct4="" direct6=""': f'direct4="{REAL4}" direct6="{REAL6}"'})
    for program, command in rules.items():
        assert lab.gateway.run(command, capture_output=True, text=True).stdout.count("MX_DIRECT") == 3, program
    lab.load_ruleset(name, edits={'fake6="2001:db8::10"': 'fake6=""', 'real6="2001:db8::20"': 'real6=""'})
    for program, command in rules.items():
        assert "MX_DIRECT" not in lab.gateway.run(command, capture_output=True, text=True).stdout, program
