"""Real senders in the lab, and the benchmark that sends for days: each part for a moment."""
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from dnslib import RCODE, DNSRecord

from benchmarks import days, situations, spammers
from benchmarks.situations import HOUR_S, SITUATIONS, Situation
from lab.hosts import REAL4, Attempt, Host, Lab
from lab.mailgate import Setting
from lab.mailworld import AGENTS, MailWorld, Sender, supported
from lab.zone import ADDRESS, Zone, host_records

ROOT = Path(__file__).parent.parent
DEFAULTS = Setting("defaults")
POOL = ["192.0.2.101", "192.0.2.102"]

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(autouse=True)
def programs() -> None:
    # A failure and no skip: scripts/prepare unpacks them.
    assert supported() is None, supported()


@pytest.mark.parametrize("way", ["a", "c"])
def test_both_agents_deliver_the_first_message(way: str) -> None:
    senders = [Sender(agent, agent, [address]) for agent, address in zip(AGENTS, POOL, strict=True)]
    with MailWorld(way, DEFAULTS, senders) as world:
        for agent in AGENTS:
            assert world.host(agent).attempt(REAL4) is Attempt.DROPPED  # the rules hold
            world.send(agent)
            log = world.log(agent)
            assert "Connection refused" in log, log  # it met the fake server
        assert [(mail.sender, mail.late) for mail in world.mails.values()] == [(agent, False) for agent in AGENTS]
        assert all(mail.delay_s is not None and mail.delay_s < 5 for mail in world.mails.values())
        assert not world.waiting()


@pytest.mark.parametrize("agent", AGENTS)
def test_mail_that_is_not_let_in_waits_for_its_retries(agent: str) -> None:
    """By the agent's own rules: it is late by whole queue runs, comes once the host is let in, and is counted once."""
    with MailWorld("a", DEFAULTS, [Sender("sender", agent, POOL[:1])]) as world:
        rule = ["INPUT", "-p", "tcp", "--dport", "25", "-j", "REJECT", "--reject-with", "tcp-reset"]
        world.lab.gateway.run(["iptables", "-I", *rule], check=True)
        world.send("sender")
        assert world.waiting()
        world.run(HOUR_S)
        assert world.log("sender").count("Connection refused") >= 4
        world.lab.gateway.run(["iptables", "-D", *rule], check=True)
        situations.settle(world)
        [mail] = world.mails.values()
        assert mail.late
        assert mail.delay_s is not None
        assert HOUR_S < mail.delay_s <= 3 * HOUR_S
        assert mail.delay_s % AGENTS[agent] == 0
        assert world.bounced("sender") == 0


@pytest.mark.parametrize("agent", AGENTS)
def test_mail_that_never_gets_in_bounces_and_is_lost(agent: str) -> None:
    """The proof that a lost message would be seen: nobody is let in, for as long as the agent tries."""
    with MailWorld("a", DEFAULTS, [Sender("sender", agent, POOL[:1])]) as world:
        world.lab.gateway.run(["iptables", "-I", "INPUT", "-p", "tcp", "--dport", "25", "-j", "REJECT",
                               "--reject-with", "tcp-reset"], check=True)
        world.send("sender")
        situations.settle(world)
        outcome = situations.Outcome.of(list(world.mails.values()), world.bounced("sender"))
        assert (outcome.sent, outcome.late, outcome.lost) == (1, 1, 1)
        assert outcome.bounced >= 1
        assert not world.waiting()
        assert 2 * 86_400 <= world.now_s <= situations.GIVEN_UP_S


def test_two_situations() -> None:
    again = situations.run(SITUATIONS["daemon restarted"], "exim", "a", DEFAULTS)
    assert (again.sent, again.late, again.lost) == (2, 0, 0)
    pool = situations.run(Situation((0,), POOL, own_names=True), "postfix", "b", DEFAULTS)
    assert (pool.sent, pool.lost, pool.bounced) == (1, 0, 0)


def test_a_setting_without_state_forgets_in_a_reboot() -> None:
    """The harness: what a boot takes away is gone, and what the state keeps is there again."""
    for keeps in (True, False):
        setting = Setting("", ("-c", "/dev/null"), keeps=keeps)
        with MailWorld("c", setting, [Sender("sender", "postfix", POOL[:1])]) as world:
            world.send("sender")
            world.run(60)
            world.gate.reboot()
            # The sets are filled a moment after the start; the SYN comes again after 1 s.
            attempt = world.host("sender").attempt(REAL4, timeout=2.5)
            assert attempt is (Attempt.CONNECTED if keeps else Attempt.DROPPED)


def test_spam_models(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("last MX only", "all in order", "worst first")
    monkeypatch.setattr(spammers, "MODELS", {name: spammers.MODELS[name] for name in chosen})
    assert spammers.run(3, "a", DEFAULTS, 1) == {"last MX only": 3, "all in order": 0, "worst first": 3}


def test_a_mix_of_senders_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    habits = [habit for habit in days.mix() if habit.sender.name.endswith("-steady")]
    monkeypatch.setattr(days, "mix", lambda: habits)
    monkeypatch.setattr(days, "DAY_S", 4 * HOUR_S)
    found = days.run(1, "a", DEFAULTS, 1)
    assert set(found) == {"postfix-steady", "exim-steady", "all"}
    assert found["all"].sent == found["postfix-steady"].sent + found["exim-steady"].sent > 4
    assert (found["all"].late, found["all"].lost) == (0, 0)


def test_the_name_server_of_the_lab(lab: Lab) -> None:
    """It answers a sender of another host for names and reverse names, and says of what it has not that it has not."""
    sender = lab.client("sender", POOL[0])
    with Zone(lab.client("names", ADDRESS), host_records("mail.a.test", "192.0.2.101", "2001:db8::101")):
        found = [_ask(sender, name, kind) for name, kind in (
            ("mail.a.test", "A"), ("mail.a.test", "AAAA"), ("101.2.0.192.in-addr.arpa", "PTR"), ("b.test", "A"))]
    assert found == ["192.0.2.101", "2001:db8::101", "mail.a.test.", "NXDOMAIN"]


def _ask(host: Host, name: str, kind: str) -> str:
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(DNSRecord.question(name, kind).pack(), (ADDRESS, 53))
        answer = DNSRecord.parse(asking.recv(512))
    return str(answer.rr[0].rdata) if answer.rr else RCODE[answer.header.rcode]


def test_the_command(tmp_path: Path) -> None:
    config = tmp_path / "trial.conf"
    config.write_text("whitelist-time 7200\n", encoding="ascii")
    plot = tmp_path / "delivery.svg"
    done = subprocess.run(
        [sys.executable, "benchmarks/delivery.py", "--part", "matrix", "--settings", "none", "--config", str(config),
         "--situation", "first message", "--agent", "postfix", "--json", "--plot", str(plot)],
        cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["matrix"]
    assert (row["setting"], row["agent"], row["sent"], row["late"], row["lost"]) == ("trial.conf", "postfix", 1, 0, 0)
    assert "<svg" in plot.read_text(encoding="utf-8")
    earlier = tmp_path / "earlier"
    earlier.write_text(done.stdout, encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "benchmarks/delivery.py", "--part", "none", "--earlier", str(earlier)],
        cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "trial.conf" in shown.stdout


@pytest.mark.parametrize(("arguments", "said"), [
    (("--part", "weeks"), '"weeks" is none of matrix, days, spam'),
    (("--config", "/nowhere"), '"/nowhere" is no file'),
    (("--bots", "251"), '"251" is more than 250'),
    (("--part", "none", "--earlier", "README.md"), '"README.md" is no output of --json'),
    (("--settings", "none"), "there is nothing to measure"),
])
def test_what_the_command_does_not_take(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run([sys.executable, "benchmarks/delivery.py", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
