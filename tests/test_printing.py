"""--print-ruleset: the files of rulesets/ for a configuration; what is printed loads, and does what it says."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from mxallowd.errors import ConfigError
from mxallowd.firewall import nft
from mxallowd.firewall.printing import Printed, file, ruleset
from mxallowd.firewall.wanted import Wanted
from mxallowd.settings import arguments
from mxallowd.settings.loading import load
from tests.daemon_process import SENDER4, SENDER6, SERVERS
from tests.test_memories import FLEET
from tests.test_settings import good

NFT = ("--nft-table", "inet mxallowd")
QUEUED, CAPTURED = ("-n", "23"), ("-p", "nflog:5")
V4 = ("-f", FAKE4, "-r", REAL4)
IPTABLES = "--iptables"
OUTBOUND = ("--learn-outbound", "nflog:6")
# The command's words behind its servers, and the files that it prints with those of the documentation.
PRINTED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("a", *QUEUED): ("queue.nft",),
    ("a", IPTABLES, *QUEUED): ("queue.sh",),
    ("b", *QUEUED, *NFT): ("queue-set.nft",),
    ("b", IPTABLES, *QUEUED, *NFT): ("queue-set-mark.nft", "queue-set-mark.sh"),
    ("b", IPTABLES, *QUEUED, "--ipset"): ("queue-set-ipset.sh",),
    ("c", *CAPTURED, *NFT): ("set.nft",),
    ("c", IPTABLES, *CAPTURED, "--ipset"): ("set-ipset.sh",),
    ("d", *CAPTURED, *NFT, "--door", "eth0"): ("door.nft",),
    ("d", *CAPTURED, *NFT): ("door-raw.nft",),
    ("a", *QUEUED, *OUTBOUND): ("queue.nft", "outbound.nft"),
    ("a", IPTABLES, *QUEUED, *OUTBOUND): ("queue.sh", "outbound.sh"),
}


def printed(way: str, *words: str, servers: tuple[str, ...] = tuple(SERVERS)) -> Printed:
    """What the settings of these words print, without a process."""
    given = [word for word in words if word != IPTABLES]
    loaded = load(arguments.parse(["-c", "/dev/null", *servers, *given])[0], bare=False)
    assert loaded.settings, loaded.fatal
    return ruleset(way, loaded.settings, iptables=IPTABLES in words)


def command(*words: str, lab: Lab | None = None) -> "subprocess.CompletedProcess[str]":
    """The command, without any privilege."""
    argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "mxallowd", "-c", "/dev/null",
            *words]
    return subprocess.run(lab.gateway.command(argv) if lab else argv, capture_output=True, text=True, timeout=30)


def test_the_files_are_what_is_printed() -> None:
    """For the documentation's addresses and the defaults, byte for byte; all of them."""
    for words, names in PRINTED.items():
        texts = [(RULESETS / name).read_text(encoding="utf-8") for name in names]
        found = printed(*words)
        assert found.notes == ()
        if names[0] == "queue-set-mark.nft":
            assert found.text.startswith("#!/bin/sh\n")
            assert found.text.endswith(f"nft -f - <<'END OF THE TABLE' || exit\n{texts[0]}END OF THE TABLE\n{texts[1]}")
        else:
            assert found.text == "\n".join(texts)
    assert {name for names in PRINTED.values() for name in names} == {path.name for path in RULESETS.iterdir()}


def test_sets_have_room_for_what_other_gateways_tell() -> None:
    """As many hosts again as the whitelist's own, twice, as of those."""
    words = " ".join((*SERVERS, "-p", "nflog:5"))
    alone, fleet = (ruleset("c", good(f"{words} {more}")).text for more in ("", FLEET))
    assert "size 2000000" in alone and "size 2000000" not in fleet
    assert fleet.replace("size 4000000", "size 2000000").replace("size 5000000", "size 3000000") == alone


def test_the_command_prints_and_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    """Without a privilege; from the configuration file, and what the command line says besides."""
    config = tmp_path / "mx.conf"
    config.write_text(f"fake-mailserver {FAKE4}\nreal-mailserver {REAL4}\npflog-interface nflog:7\nwhitelist-color 5\n",
                      encoding="ascii")
    config.chmod(0o644)
    everything = ["sh", "-c", "nft list ruleset; iptables-save; ipset save"]
    before = lab.gateway.run(everything, capture_output=True).stdout
    done = command("-c", str(config), "-r", "192.0.2.21", "--print-ruleset", "c", lab=lab)
    assert (done.returncode, done.stderr.splitlines()) == (0, [
        f'mxallowd: {config}:4: warning: unknown option "whitelist-color", skipped',
        'mxallowd: no nft-table is given: the rules are in "inet mxallowd"; start mxallowd with '
        '--nft-table "inet mxallowd"'])
    assert done.stdout == file("set.nft", Wanted(fake6=(), real4=(REAL4, "192.0.2.21"), real6=(), group=7))
    assert lab.gateway.run(everything, capture_output=True).stdout == before
    with Path("/dev/full").open("w", encoding="ascii") as full:
        assert subprocess.run([sys.executable, "-m", "mxallowd", "-c", str(config), "--print-ruleset", "c"],
                              stdout=full, stderr=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize(("words", "line"), [
    (["d", IPTABLES], "print-ruleset: way d has rules for nft alone, which work beside those of iptables: leave out "
     "--iptables"),
    (["e;\n"], 'print-ruleset: "e;\\x0a" is not a, b, c or d'),
    (["c", "--nft-table", "ip mx"], 'print-ruleset: "ip mx" is no table for these rules, which need one of the family '
     'inet, such as "inet mxallowd"'),
    (["c", "--nft-table", "inet filter"], 'print-ruleset: the rules replace all that "inet filter" has; give mxallowd '
     'a table of its own, such as "inet mxallowd"'),
    (["c", "--learn-outbound", "nflog:5"], "print-ruleset: learn-outbound has the NFLOG group 5: give the rules of way "
     "c another one by pflog-interface nflog:GROUP"),
    (["b", IPTABLES, "-n", "1", "--verdict-mark", "0xffffffff"],
     "print-ruleset: verdict-mark and refuse-mark leave no bit for the mark of known hosts"),
    (["a", "--check"], "--print-ruleset and --check are two commands: give one of them"),
    (["a", "-f", "x"], 'command line: fake-mailserver: "x" is not an IPv4 or IPv6 address'),
    (["d", "--door", 'a"; b'], 'command line: door: "a\\"; b" is not the name of an interface: it has a blank, or a '
     "character that none should have"),
])
def test_what_could_not_work_is_refused_in_one_line(
        words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mxallowd import cli
    from mxallowd.process import signals
    with pytest.MonkeyPatch.context() as patched:
        # It would end this process at a SIGINT.
        patched.setattr(signals, "end_at_once", lambda: None)
        assert cli.main(["-c", "/dev/null", *SERVERS, "--print-ruleset", *words]) == 1
        assert tuple(capsys.readouterr()) == ("", f"mxallowd: {line}\n")
        assert cli.main(["-c", "/dev/null", *SERVERS, "-n", "1", IPTABLES]) == 1
        assert tuple(capsys.readouterr()) == ("", "mxallowd: --iptables needs --print-ruleset\n")


def test_what_is_taken_for_granted_is_said() -> None:
    start = "start mxallowd with"
    table = f'no nft-table is given: the rules are in "inet mxallowd"; {start} --nft-table "inet mxallowd"'
    group = f"pflog-interface names no NFLOG group: the rules have 5; {start} --pflog-interface nflog:5"
    led = "nobody is led from the fake server to the real one: direct-table is"
    for words, notes in {
            ("a", *CAPTURED): [f"no queue-num is given: the rules have 23; {start} --queue-num 23"],
            ("b", *QUEUED): [table], ("c", *QUEUED): [group, table], ("c", *QUEUED, IPTABLES): [
                group, f"no ipset is given: {start} --ipset"],
            ("d", "-p", "eth1", "-l", "tcp and port 26", *NFT): [
                group, 'the rules are for port 25, whatever pcap-filter "tcp and port 26" says'],
            ("c", *CAPTURED, "--nft-table", "mx"): ['the rules replace all rules of the table "inet mx"'],
            ("a", *QUEUED, "--direct-after", "6/6h"): [
                f'no direct-table is given: {start} --direct-table "inet mxallowd"'],
            ("a", *QUEUED, "--ipset", *NFT, "--direct-after", "6/6h"): [],
            ("a", *QUEUED, IPTABLES, "--direct-after", "6/6h"): [
                f"no direct-table is given: {start} --direct-table ipset"],
            ("a", *QUEUED, "--direct-table", "ipset"): [
                f'{led} "ipset", and these rules could ask "inet mxallowd" alone'],
            ("c", *CAPTURED, "--ipset", IPTABLES, "--direct-table", "inet mx"): [
                f'{led} "inet mx", and these rules could ask "ipset" alone'],
            ("b", *QUEUED, *NFT, "--direct-after", "6/6h", "--trust", "/nonexistent"): [],
            ("c", *CAPTURED, *NFT, "--trust", "/nonexistent/x"): [
                "/nonexistent/x: cannot be read: No such file or directory; nobody is led to the real server for it"],
    }.items():
        assert list(printed(*words).notes) == notes, words


def test_every_optional_line_is_one_of_an_option(tmp_path: Path) -> None:
    """No file has a word that the printer does not know; and what is chosen leaves no such line, and no advice."""
    trust = tmp_path / "trust"
    trust.write_text("network 203.0.113.0/24 first-mx-only\n", encoding="ascii")
    os.utime(trust, (0, 0))
    every = ("--renew", "both", "--network-key", "20/56", "--trust", str(trust), "--refuse", "reset",
             "--verdict-mark", "8/8")
    for path in RULESETS.glob("*.nft"):
        words = set(re.findall(r"^\t*#(\w+) ", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert words <= {*nft.OPTIONAL, *nft.BY_HAND}, path
    for way, more in (("a", ("--direct-table", "inet mxallowd")), ("b", NFT), ("c", (*NFT, *CAPTURED)),
                      ("d", (*NFT, *CAPTURED))):
        text = printed(way, *QUEUED, *every, *more).text
        left = set(re.findall(r"^\t*#(\w+) ", text, re.MULTILINE))
        assert left == {"dry", "notrack"} if way in ("c", "d") else left == {"notrack"}
        assert "place of the two" not in text.replace("With --dry-run, these in place of the two", "")
        assert text.count("chain direct {\n\t\ttype nat hook prerouting") == 1
        if way in ("c", "d"):
            assert "define mask4 = 255.255.240.0\ndefine mask6 = ffff:ffff:ffff:ff00::\n" in text
            assert "\t\tcounter name mx_refused reject with tcp reset\n\t\tcounter name mx_refused drop\n" in text
        else:
            assert "\t\tmeta mark & 0x8 == 0x8 return\n" in text
            assert "\t\tmeta mark & 0x40000000 == 0x40000000 reject with tcp reset\n" in text
        trial = printed(way, *QUEUED, *every, *more, "--dry-run").text
        rules = [line for line in trial.splitlines() if not line.lstrip("\t").startswith("#")]
        assert not [rule for rule in rules if "name mx_refused" in rule and not rule.endswith(" accept")]
        assert "mx_refused" not in text or "#reset counter name mx_refused reject" in trial


def test_a_bit_that_is_taken_does_not_mark_known_hosts() -> None:
    words = ("b", IPTABLES, *QUEUED, *NFT, "--refuse", "reset", "--refuse-mark", "0x10000000/0x10000000")
    text = printed(*words, "--verdict-mark", "0x8000000/0x8000000").text
    assert "meta mark set meta mark or 0x4000000 return" in text
    assert "\nknown=0x4000000/0x4000000 " in text
    assert '\nmark="0x8000000/0x8000000" ' in text
    assert "\nrefuse=REJECT " in text
    assert "\nrefused=0x10000000/0x10000000 " in text


@pytest.mark.parametrize("wrong", [{"real4": ("192.0.2.1; reboot",)}, {"table": "inet a{}"}, {"renew": "$(id)"},
                                   {"doors": ('a"',)}, {"doors": ("a\n",)}, {"fake6": ("2001:DB8::1",)}])
def test_no_text_is_more_than_a_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is not"):
        Wanted(**wrong)  # type: ignore[arg-type]


def load_printed(lab: Lab, found: Printed) -> None:
    """As an operator pipes it to a program. What this kernel lacks, the statement `queue` of nft, is a counter."""
    text = re.sub(r"queue num \S+ bypass", "counter accept", found.text)
    kind = "printed.sh" if text.startswith("#!/bin/sh") else "printed.nft"
    assert lab.load_texts({kind: text}) == ""
    # And again, over itself.
    assert lab.load_texts({kind: text}) == ""


ODD_DOOR = "mark&'(é)"
EVERY = ("--renew", "both", "--network-key", "32/64", "--direct-after", "6/6h", "--max-entries", "3000000")
MARKS = ("--refuse", "reset", "--verdict-mark", "0x8000000/0x8000000")


def test_what_is_printed_loads(lab: Lab) -> None:
    """Several addresses, one family, queues, groups, marks, tables, ports, interfaces; each over the one before."""
    several = (*SERVERS, "-r", "192.0.2.21", "-f", "192.0.2.11", "-r", "2001:db8::21")
    lab.gateway.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", ODD_DOOR], check=True)
    listing: dict[str, str] = {}
    for name, servers, words in (
            ("a", several, ("a", "-n", "23:26", *MARKS, "--direct-table", "inet mxallowd", *OUTBOUND)),
            ("a.sh", V4, ("a", IPTABLES, "-n", "23:26", *MARKS, "--direct-table", "ipset", *OUTBOUND)),
            ("b", V4, ("b", *QUEUED, *EVERY, *MARKS, "--nft-table", "inet mx")),
            ("b.sh", several, ("b", IPTABLES, *QUEUED, *EVERY, *MARKS, *NFT)),
            ("b-ipset.sh", several, ("b", IPTABLES, *QUEUED, *EVERY, *MARKS, "--ipset")),
            ("c", several, ("c", "-p", "nflog:7", *EVERY, *NFT, "-l", "port 25 or dst port 587")),
            ("c.sh", several, ("c", IPTABLES, "-p", "nflog:7", *EVERY, "--ipset", "-l", "port 25 or dst port 587")),
            ("d", several, ("d", "-p", "nflog:8", *EVERY, *NFT, "--door", "eth0", "--door", ODD_DOOR)),
            ("d-v4", V4, ("d", *CAPTURED, *NFT, "--dry-run", "--door", "eth0")),
            ("d-raw", ("-f", FAKE6, "-r", REAL6), ("d", *CAPTURED, *EVERY, *NFT)),
            ("d-mixed", ("-f", FAKE4, "-f", FAKE6, "-r", REAL6), ("d", *CAPTURED, *EVERY, *NFT))):
        # Sets of another way have other flags.
        lab.gateway.run(["nft", "flush ruleset"], check=True)
        load_printed(lab, printed(*words, servers=servers))
        shown = lab.gateway.run(["sh", "-c", "nft list ruleset; iptables-save; ip6tables-save; ipset list -t"],
                                capture_output=True, text=True)
        listing[name] = shown.stdout
        for program in ("iptables", "ip6tables"):
            lab.gateway.run([program, "-F"], check=True)
        lab.gateway.run(["ipset", "destroy"], check=False)
    assert "ip daddr { 192.0.2.10, 192.0.2.11, 192.0.2.20, 192.0.2.21 } counter" in listing["a"]
    assert "meta mark & 0x08000000 == 0x08000000 return" in listing["a"]
    assert "table inet mxallowd_outbound {" in listing["a"]
    assert "dnat ip to 192.0.2.20\n" in listing["a"]
    assert "--queue-balance 23:26 --queue-bypass" in listing["a.sh"]
    assert "--mark 0x8000000/0x8000000 -j RETURN" in listing["a.sh"]
    assert "--nflog-group 6" in listing["a.sh"]
    assert "2001:db8::10" not in listing["a.sh"] + listing["b"]
    assert "size 6000000" in listing["b"]
    assert "table inet mx {" in listing["b"]
    assert "-d 2001:db8::21/128 -j NFQUEUE" in listing["b.sh"]
    assert "maxelem 6000000" in listing["b-ipset.sh"]
    assert "tcp dport { 25, 587 }" in listing["c"]
    assert "log group 7 " in listing["c"]
    jump = "-m multiport --dports 25,587 -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j MXALLOWD\n"
    assert listing["c.sh"].count(jump) == 2
    assert re.search(r"devices = \{ [^}]*eth0[^}]* \}", listing["d"])
    assert ODD_DOOR in listing["d"]
    assert "mx_refused" in listing["d-v4"]
    assert " drop" not in listing["d-v4"].replace("counter packets 0 bytes 0 drop", "")
    assert f"ip daddr {FAKE4} goto mx_fake" in listing["d-mixed"]


def test_a_gateway_with_ipv4_alone_works(served: Lab, client: Host) -> None:
    """By what is printed alone: the kernel refuses a stranger, and lets in who has met the fake server."""
    for way, words in (("c", ()), ("d", ("--door", "br0"))):
        served.gateway.run(["nft", "flush ruleset"], check=True)
        load_printed(served, printed(way, *CAPTURED, *NFT, *words, servers=V4))
        # The quota, at way d: the first ones are shown, and dropped as well.
        assert client.attempt(REAL4, source=SENDER4, timeout=0.3) is Attempt.DROPPED
        assert client.attempt(REAL6, source=SENDER6) is Attempt.CONNECTED
        assert client.attempt(FAKE4, source=SENDER4) is Attempt.REFUSED
        assert client.attempt(REAL4, source=SENDER4) is Attempt.CONNECTED


def test_what_cannot_be_written_is_said() -> None:
    """A full disk, and a closed output: one line, and a status with which nobody loads a part of it."""
    words = ["-c", "/dev/null", *SERVERS, "--print-ruleset", "d", *CAPTURED, *NFT]
    argv = [sys.executable, "-m", "mxallowd", *words]
    for to, said in ((">/dev/full", "the rules could not be written to standard output"),
                     (">&-", "standard output is closed")):
        done = subprocess.run(["sh", "-c", f'exec "$@" {to}', "sh", *argv], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (1, f"mxallowd: print-ruleset: {said}\n")


def test_words_of_nft_are_no_tables() -> None:
    for name in ("queue", "table", "drop", "ip", "counter", "flush", "set", "map", "chain", "rule"):
        with pytest.raises(ConfigError, match=f'"{name}" is a word of nft'):
            printed("c", *CAPTURED, "--nft-table", name)


def test_a_door_without_a_table_is_in_the_rules() -> None:
    """The table of the documents is taken, so nobody may say that the door does nothing."""
    done = command(*SERVERS, "--print-ruleset", "d", "-p", "nflog:5", "--door", "eth7")
    assert done.returncode == 0
    assert "devices = { eth7 }" in done.stdout
    assert [line for line in done.stderr.splitlines() if "no nft-table is given" not in line] == []
