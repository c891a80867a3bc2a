"""Refresh of SPF records: when, what holds while name servers are gone, and what is not believed."""
import asyncio
import time
from ipaddress import ip_network

import pytest

from mxallowd.trust import refresh as module
from mxallowd.trust.answers import Answer, disbelief, life_s, records_of
from mxallowd.trust.flatten import Flattened
from mxallowd.trust.lines import parse
from mxallowd.trust.refresh import Refresh

START_S = 1_800_000_000.0
GOOD = [ip_network("192.0.2.0/24"), ip_network("2001:db8::/48")]
OTHER = [ip_network("198.51.100.0/24")]


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, word: str, address: str | None = None, **values: object) -> None:
        self.lines.append((word, values))

    warning = error = info

    def words(self) -> list[str]:
        return [word for word, _ in self.lines]


class Story:
    """A refresh with a name server that says what it is told to."""

    def __init__(self, text: bytes = b"spf example.org\n", kept: dict[str, Answer] | None = None) -> None:
        self.now_s = START_S
        self.says = Flattened(GOOD, 7200, [], [], False)
        self.asked: list[str] = []
        self.changes: list[bool] = []
        self.log = Lines()
        self.refresh = Refresh(self.flatten, self._changed, self.log, lambda: self.now_s)  # type: ignore[arg-type]
        self.refresh.take(parse(text, "trust.conf"), kept)

    def _changed(self, another: bool) -> None:
        self.changes.append(another)

    async def flatten(self, domain: str) -> Flattened:
        self.asked.append(domain)
        return self.says

    def round(self, later_s: float = 0.0) -> float:
        """One round so much later; after how long the next one is."""
        self.now_s += later_s
        due = asyncio.run(self.refresh.round())
        assert due is not None
        return due - self.now_s

    def say(self, *networks: str, wrong: str = "", unanswered: bool = False) -> None:
        self.says = Flattened([ip_network(one) for one in networks], 7200, [], [wrong] if wrong else [], unanswered)

    def records(self) -> bytes | None:
        answer = self.refresh.answers().get("example.org")
        return answer.records if answer else None


@pytest.mark.parametrize(("ttl_s", "life"), [(None, 3600), (0, 3600), (60, 3600), (7200, 7200), (604_800, 86_400)])
def test_the_time_to_live_has_bounds(ttl_s: int | None, life: int) -> None:
    story = Story()
    story.says = story.says._replace(ttl_s=ttl_s)
    assert story.round() == life == life_s(ttl_s)
    assert story.round(life - 1) == 1
    assert story.asked == ["example.org"]
    story.round(1)
    assert len(story.asked) == 2


@pytest.mark.parametrize(("networks", "reason"), [
    ([], "it names no network"), (["10.0.0.0/7"], "it has more addresses of IPv4 than a /8"),
    (["10.0.0.0/8", "192.0.2.1/32"], "it has more addresses of IPv4 than a /8"),
    (["2000::/15"], "it has more addresses of IPv6 than a /16"),
    (["0.0.0.0/0"], "it has more addresses of IPv4 than a /8"),
    ([f"10.{number >> 8}.{number & 255}.0/25" for number in range(4097)], "it has 4097 networks, more than 4096")])
def test_what_is_not_believed(networks: list[str], reason: str) -> None:
    story = Story()
    story.round()
    story.say(*networks)
    story.round(7200)
    assert story.records() == records_of(GOOD)
    assert story.log.lines[-1] == ("trust-failed", {
        "where": "trust.conf:1", "domain": "example.org", "reason": reason, "holds": "yes"})


def test_what_is_just_believed() -> None:
    assert disbelief([ip_network("10.0.0.0/8"), ip_network("2001::/16")]) is None
    assert disbelief([ip_network(f"10.{number >> 8}.{number & 255}.0/25") for number in range(4096)]) is None


def test_a_dead_name_server_leaves_the_last_answer() -> None:
    story = Story()
    story.round()
    story.say(wrong="example.org: Timeout", unanswered=True)
    pauses = [story.round(7200), *(story.round(pause) for pause in (300, 600, 1200, 2400, 3600))]
    assert pauses == [300, 600, 1200, 2400, 3600, 3600]
    assert story.records() == records_of(GOOD)
    assert story.log.words() == ["trust", "trust-failed"]  # said once
    story.say("198.51.100.0/24")
    assert story.round(3600) == 7200
    assert story.records() == records_of(OTHER)
    assert story.refresh.known()[0].fault == ""


def test_part_of_an_answer_takes_the_place_of_none_alone() -> None:
    story = Story()
    story.say("198.51.100.0/24", wrong="x.example: Timeout", unanswered=True)
    assert story.round() == 300
    assert story.records() == records_of(OTHER)
    story.say("192.0.2.0/24", wrong="x.example: Timeout", unanswered=True)
    story.round(300)
    assert story.records() == records_of(OTHER)


def test_what_was_kept_holds_at_once_and_is_asked_for_in_time() -> None:
    kept = {"example.org": Answer(records_of(OTHER), int(START_S) - 3600, 7200)}
    story = Story(kept=kept)
    assert story.records() == records_of(OTHER)
    assert story.round() == 3600
    assert not story.asked
    # A wall clock that was set back cannot make it wait for years.
    story = Story(kept={"example.org": kept["example.org"]._replace(learned_s=int(START_S) + 10**8)})
    story.round()
    assert story.asked == ["example.org"]


def test_other_lines_keep_what_is_known() -> None:
    story = Story(b"spf example.org\nspf example.net\nnetwork 192.0.2.0/24\n")
    story.round()
    assert sorted(story.asked) == ["example.net", "example.org"]
    story.refresh.take(parse(b"# moved\nspf example.org first-mx-only\nspf example.com\n", "trust.conf"))
    assert sorted(story.refresh.answers()) == ["example.org"]
    assert [known.line.number for known in story.refresh.known()] == [2, 3]
    story.round()
    assert story.asked[2:] == ["example.com"]


def test_a_domain_that_takes_too_long_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_S", 0.1)
    story = Story(b"spf slow.example\nspf example.org\n")
    answers = story.flatten

    async def slowly(domain: str) -> Flattened:
        await asyncio.sleep(10 if domain.startswith("slow") else 0)
        return await answers(domain)

    story.refresh._flatten = slowly
    started = time.monotonic()
    story.round()
    assert time.monotonic() - started < 2
    assert list(story.refresh.answers()) == ["example.org"]


def test_a_defect_about_one_record_does_not_end_the_others() -> None:
    story = Story(b"spf odd.example\nspf example.org\n")
    answers = story.flatten

    async def breaks(domain: str) -> Flattened:
        if domain == "odd.example":
            raise ValueError("odd")
        return await answers(domain)

    story.refresh._flatten = breaks
    assert story.round() == 300
    assert list(story.refresh.answers()) == ["example.org"]
    assert story.refresh.known()[0].fault == "ValueError: odd"


def test_it_runs_and_is_woken_by_new_lines() -> None:
    story = Story(b"")

    async def whole() -> None:
        task = asyncio.create_task(story.refresh.run())
        await asyncio.sleep(0.02)
        assert not story.asked
        story.refresh.take(parse(b"spf example.org\n", "trust.conf"))
        await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(whole())
    assert story.asked == ["example.org"]
    assert story.changes == [True]


def test_an_operator_asks_now() -> None:
    story = Story(b"spf example.org\nspf example.net\n")
    story.round()
    assert [story.refresh.ask_soon(), story.refresh.ask_soon("example.org")] == [0, 0]  # just now it was
    story.now_s += 10
    assert [story.refresh.rest_s(), story.refresh.rest_s("example.org")] == [module.LEAST_PAUSE_S - 10] * 2
    story.now_s += module.LEAST_PAUSE_S
    assert story.refresh.rest_s() is None
    assert story.refresh.ask_soon("example.org") == 1
    assert story.refresh.ask_soon("nowhere.example") == 0
    story.say(wrong="example.org: Timeout", unanswered=True)
    assert story.round() == 300
    assert story.asked[2:] == ["example.org"]
    # What has failed is asked for again when the file is read again: the name servers may be mended.
    story.now_s += module.LEAST_PAUSE_S
    assert story.refresh.ask_soon(failed_only=True) == 1
    assert story.refresh.ask_soon(failed_only=True) == 0
    story.round()
    assert story.asked[3:] == ["example.org"]
    assert story.refresh.counts == {"trust-learned": 2, "trust-failed": 2}


def test_a_wall_clock_that_is_set_back_delays_nothing() -> None:
    story = Story()
    story.round()
    story.round(-10**8)
    assert len(story.asked) == 2


def test_while_one_is_slow_others_go_on() -> None:
    story = Story(b"spf slow.example\nspf example.org\n")
    answers, gate = story.flatten, asyncio.Event()

    async def slowly(domain: str) -> Flattened:
        if domain.startswith("slow"):
            await gate.wait()
        return await answers(domain)

    async def whole() -> None:
        story.refresh._flatten = slowly
        task = asyncio.create_task(story.refresh.run())
        await asyncio.sleep(0.02)
        story.refresh.take(parse(b"spf slow.example\nspf example.com\n", "trust.conf"))
        await asyncio.sleep(0.02)
        assert story.asked == ["example.org", "example.com"]
        assert story.refresh.is_asked("slow.example")
        gate.set()
        await asyncio.sleep(0.02)
        assert story.asked[2:] == ["slow.example"]
        task.cancel()

    asyncio.run(whole())


def test_what_was_left_out_is_said_once() -> None:
    story = Story()
    story.says = story.says._replace(left_out=["example.org: ptr"], wrong=["x.example has no SPF record"])
    story.round()
    story.round(7200)
    assert story.log.words() == ["trust-left-out", "trust-wrong", "trust"]


def test_only_another_answer_is_a_change() -> None:
    story = Story()
    changes = []
    for networks, chains in ((GOOD, ()), (GOOD, ()), (OTHER, ()), (OTHER, ((1, "x.example"),)), (OTHER, ())):
        story.says = Flattened(networks, 7200, [], [], False, chains)
        story.round(7200)
        changes.append(story.changes[-1])
    assert changes == [True, False, True, True, True]
    assert len(story.changes) == 5
    # What was kept is no other one, but its age is.
    story = Story(kept=story.refresh.answers())
    story.says = Flattened(OTHER, 7200, [], [], False)
    story.round(10**6)
    assert story.changes == [False]
