"""Real senders in the lab, and the benchmark that sends for days: each part for a moment.

A world costs one to three seconds to set up, so each test asks one of them for all that it can show.
"""
import json
import socket
import sys
from pathlib import Path

import pytest
from dnslib import RCODE, DNSRecord

from benchmarks import command, days, delivered, delivery, situations, spammers
from benchmarks.situations import HOUR_S, Outcome, Situation
from lab.hosts import REAL4, Attempt, Host, Lab
from lab.mailgate import Setting
from lab.mailworld import AGENTS, FIRST_MX, QUEUE_RUNS_S, MailWorld, Sender, supported
from lab.zone import ADDRESS, Zone, host_records

DEFAULTS = Setting("defaults")
FIRST = "192.0.2.101"
BLOCK = ["INPUT", "-p", "tcp", "--dport", "25", "-j", "REJECT", "--reject-with", "tcp-reset"]
SENDERS = {"exim": FIRST, "postfix": "192.0.2.102", FIRST_MX: "192.0.2.103"}

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(autouse=True)
def programs() -> None:
    # A failure and no skip: scripts/prepare unpacks them.
    assert supported() is None, supported()


def test_real_agents_deliver_wait_and_give_up() -> None:
    """The first message at once; while nobody is let in, by the agent's own retries, and in the end never.

    So it also proves that a late and a lost message would be seen.
    """
    with MailWorld("a", DEFAULTS, [Sender(agent, agent, [address]) for agent, address in SENDERS.items()]) as world:
        for agent in SENDERS:
            assert world.host(agent).attempt(REAL4) is Attempt.DROPPED  # the rules hold
            world.at(0, agent)
        world.run(0)
        assert [(mail.sender, mail.late) for mail in world.mails.values()] == [
            ("exim", False), ("postfix", False), (FIRST_MX, True)]
        assert all(mail.delay_s is not None and mail.delay_s < 5 for mail in world.mails.values() if not mail.late)
        for agent in AGENTS:
            assert "Connection refused" in world.log(agent), world.log(agent)  # it met the fake server

        world.lab.gateway.run(["iptables", "-I", *BLOCK], check=True)
        world.at(0, "exim")
        world.at(0, "postfix")
        world.run(HOUR_S)
        assert all(world.log(agent).count("refused") >= 3 for agent in SENDERS)
        world.lab.gateway.run(["iptables", "-D", *BLOCK], check=True)
        world.run(3 * HOUR_S)
        for agent, mail in zip(AGENTS, list(world.mails.values())[3:], strict=True):
            assert mail.late
            assert mail.delay_s is not None
            assert mail.delay_s > HOUR_S
            assert mail.delay_s % QUEUE_RUNS_S[agent] == 0
            assert world.bounced(agent) == 0

        world.lab.gateway.run(["iptables", "-I", *BLOCK], check=True)
        world.at(0, "exim")
        world.at(0, "postfix")
        sent_s = world.now_s
        while world.now_s < sent_s + situations.GIVEN_UP_S:
            # Not each of some hundred queue runs.
            world.pass_time(6 * HOUR_S - 1800)
            world.run(world.now_s + 1800)
        assert not world.waiting()
        assert all(world.bounced(agent) >= 1 for agent in SENDERS)
        found = {agent: Outcome.of([mail for mail in world.mails.values() if mail.sender == agent], 0).row()
                 for agent in SENDERS}
        assert [(row["sent"], row["late"], row["late_again"], row["lost"]) for row in found.values()] == [
            (3, 2, 2, 1), (3, 2, 2, 1), (1, 1, 0, 1)]


def test_a_setting_without_state_forgets_in_a_reboot() -> None:
    """The harness: what a boot takes away is gone."""
    setting = Setting("", ("-c", "/dev/null", "--renew", "both"), keeps=False)
    with MailWorld("c", setting, [Sender("sender", FIRST_MX, [FIRST])]) as world:
        rules = world.lab.gateway.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
        assert "@mx_used4 ip saddr @mx_fresh4" in rules  # as --renew both needs them
        world.send("sender")
        assert world.host("sender").attempt(REAL4) is Attempt.CONNECTED
        world.gate.reboot()
        assert world.host("sender").attempt(REAL4, timeout=1.5) is Attempt.DROPPED


def test_spam_models(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"last MX only": 3, "all in order": 0, "last MX only, another of its /24 met the fake": 3}
    monkeypatch.setattr(spammers, "MODELS", {name: spammers.MODELS[name] for name in chosen})
    assert spammers.run(3, "a", DEFAULTS, 1) == chosen


def test_a_sender_and_a_pool_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a restart and a reboot in between, which forget nobody. The pool's addresses are in several networks."""
    monkeypatch.setattr(days, "DAY_S", 6 * HOUR_S)
    monkeypatch.setattr(days, "WEEK_S", 2 * HOUR_S)
    habits = [habit for habit in days.mix(["exim"]) if habit.sender.name.endswith((" steady", " apart"))]
    found = days.run(1, "c", DEFAULTS, 1, habits)
    assert set(found) == {"exim steady", "exim pool apart", "all"}
    assert found["all"].sent == found["exim steady"].sent + found["exim pool apart"].sent > 5
    assert (found["exim steady"].late, found["all"].lost, found["all"].bounced) == (0, 0, 0)
    assert {habit.sender.name for habit in days.regular(list(AGENTS))} > {"exim each 30 min", "postfix each 120 min"}


def test_the_name_server_of_the_lab(lab: Lab) -> None:
    """It answers a sender of another host for names and reverse names, and says of what it has not that it has not."""
    sender = lab.client("sender", FIRST)
    with Zone(lab.client("names", ADDRESS), host_records("mail.a.test", FIRST, "2001:db8::101")):
        found = [_ask(sender, name, kind) for name, kind in (
            ("mail.a.test", "A"), ("mail.a.test", "AAAA"), ("101.2.0.192.in-addr.arpa", "PTR"), ("b.test", "A"))]
    assert found == [FIRST, "2001:db8::101", "mail.a.test.", "NXDOMAIN"]


def _ask(host: Host, name: str, kind: str) -> str:
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(DNSRecord.question(name, kind).pack(), (ADDRESS, 53))
        answer = DNSRecord.parse(asking.recv(512))
    return str(answer.rr[0].rdata) if answer.rr else RCODE[answer.header.rcode]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command in this process: it takes two seconds to start."""
    monkeypatch.setattr(sys, "argv", ["delivery.py", *arguments])
    try:
        return command.run("delivery", delivery.main)
    except SystemExit as end:
        return int(str(end.code))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It measures, saves and draws; and with what was saved it measures only what is missing."""
    config, saved, plot = (tmp_path / name for name in ("trial.conf", "saved", "delivery.svg"))
    config.write_text("whitelist-time 7200\n", encoding="ascii")
    given = ("--part", "matrix", "--settings", "none", "--config", str(config), "--situation", "first message",
             "--way", "b", "--save", str(saved))
    assert run(monkeypatch, *given, "--agent", "exim", "--json", "--plot", str(plot)) == 0
    key = "first message | trial.conf | b | exim"
    row = json.loads(capsys.readouterr().out)["matrix"][key]
    assert (row["sent"], row["late"], row["lost"]) == (1, 0, 0)
    assert row["first_s"] == row["longest_s"] < 5
    assert json.loads(saved.read_text(encoding="utf-8"))["matrix"] == {key: row}
    assert "<svg" in plot.read_text(encoding="utf-8")

    measured: list[str] = []

    def fail(_: Situation, agent: str, *__: object) -> Outcome:
        measured.append(agent)
        raise RuntimeError("it hangs")

    monkeypatch.setattr(situations, "run", fail)
    assert run(monkeypatch, *given, "--earlier", str(saved)) == 1
    said = capsys.readouterr()
    assert measured == ["postfix"]
    assert "delivery: matrix: first message | trial.conf | b | postfix: it hangs" in said.err
    assert "trial.conf" in said.out


def test_the_goals() -> None:
    """Each says pass, FAIL with what failed, or that nothing was measured."""
    good = {"sent": 6, "late": 0, "late_again": 0, "lost": 0, "bounced": 0, "longest_s": 0.2, "first_s": 0.2,
            "sent_again": 0}
    bad = good | {"late": 1, "lost": 1, "first_s": None}
    found = delivered.earlier([])
    assert {verdict for _, _, verdict in delivered.goals(found)} == {"-"}
    for situation, chosen in situations.SITUATIONS.items():
        for agent in chosen.agents:
            found["matrix"][f"{situation} | recommended | a | {agent}"] = good
            found["matrix"][f"{situation} | patience alone | a | {agent}"] = good
    for part in ("regular", "days"):
        found[part] = {f"{name} | a | 30 d | 1": {"exim": good, "all": good} for name in ("recommended", "defaults")}
    found["spam"]["recommended | a | 100 bots"] = {
        name: 95 if name in delivered.REFUSED else 40 for name in spammers.MODELS}
    assert {verdict for _, _, verdict in delivered.goals(found)} == {"pass"}
    key = "pool of 16, own names, one /24 | recommended | a | exim"
    for part, place in (("matrix", key), ("days", "recommended | a | 30 d | 1")):
        worse = {**found, part: {**found[part], place: bad if part == "matrix" else {"exim": bad, "all": bad}}}
        failed = [(goal, said) for goal, said, verdict in delivered.goals(worse) if verdict == "FAIL"]
        assert len(failed) == 1
        assert "fails in " in failed[0][1]
    found["spam"]["recommended | a | 100 bots"]["last MX only"] = 94
    assert [verdict for _, _, verdict in delivered.goals(found)].count("FAIL") == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (("--part", "weeks"), '"weeks" is none of matrix, regular, days, spam'),
    (("--config", "/nowhere"), '"/nowhere" is no file'),
    (("--bots", "251"), '"251" is more than 250'),
    (("--part", "none", "--earlier", "LICENSE"), '"LICENSE" is no output of --json'),
    (("--settings", "none"), "there is nothing to measure"),
])
def test_what_the_command_does_not_take(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) in (1, 2)
    assert said in capsys.readouterr().err
