"""Lists of good senders in the DNS: what an answer means, when a list is distrusted, how much it is asked."""
import asyncio

import pytest

from mxallowd.dns.resolver import A, LookupFailed, Records
from mxallowd.trust import dnswl
from mxallowd.trust.dnswl import Dnswl
from mxallowd.trust.lines import parse
from tests.strategies import packed

HOST, OTHER, HOST6 = packed("192.0.2.7"), packed("192.0.2.8"), packed("2001:db8::7")
NAME, PROBE = "7.2.0.192.list.example", "1.0.0.127.list.example"


class Story:
    """Lists, and a name server that says what stands in `zone`."""

    def __init__(self, text: bytes = b"dnswl list.example 1\n") -> None:
        self.now_s = 0.0
        self.zone: dict[str, list[str]] = {}
        self.ttl_s = 600
        self.asked: list[str] = []
        self.said: list[str] = []
        self.lists = Dnswl(parse(text, "trust.conf"), self._ask, self, lambda: self.now_s)  # type: ignore[arg-type]

    def warning(self, word: str, **values: object) -> None:
        self.said.append(f"{word} {values['where']} {values.get('reason', values.get('most'))}")

    async def _ask(self, name: str, kind: int) -> Records:
        assert kind == A
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.zone.get(name) == ["fails"]:
            raise LookupFailed("Timeout", timed_out=True)
        texts = self.zone.get(name, [])
        return Records(texts, self.ttl_s if texts else None)

    def find(self, host: bytes = HOST, later_s: float = 0.0) -> tuple[str, int] | None:
        self.now_s += later_s
        found = asyncio.run(self.lists.find(host))
        return (found.line.where, found.score) if found else None


@pytest.mark.parametrize(("answers", "score"), [
    (["127.0.5.0"], None), (["127.0.5.1"], 1), (["127.0.10.3"], 3), (["127.0.5.1", "127.0.6.2"], 2),
    (["127.0.5.9"], None), (["127.1.5.3"], None), ([], None)])
def test_a_score_that_is_high_enough(answers: list[str], score: int | None) -> None:
    story = Story()
    story.zone[NAME] = answers
    assert story.find() == (None if score is None else ("trust.conf:1", score))
    assert story.asked == [PROBE, NAME]
    assert not story.said


def test_ipv6_is_asked_by_nibbles() -> None:
    story = Story()
    name = f"7.{'0.' * 23}8.b.d.0.1.0.0.2.list.example"
    story.zone[name] = ["127.0.5.2"]
    assert story.find(HOST6) == ("trust.conf:1", 2)


def test_the_first_line_that_has_it() -> None:
    story = Story(b"dnswl a.example 3\ndnswl b.example\n")
    story.zone |= {"7.2.0.192.a.example": ["127.0.5.2"], "7.2.0.192.b.example": ["127.0.5.0"]}
    assert story.find() == ("trust.conf:2", 0)


@pytest.mark.parametrize(("answers", "reason"), [
    ({PROBE: ["127.0.10.3"], NAME: ["127.0.10.3"]}, "it lists 127.0.0.1, so it lists everything"),
    ({NAME: ["127.0.0.255"]}, "it says that it was asked too much"),
    ({PROBE: ["127.0.0.255"]}, "it says that it was asked too much"),
    ({NAME: ["203.0.113.9"]}, "it answers with 203.0.113.9, which is none of such a list")])
def test_a_list_that_is_distrusted(answers: dict[str, list[str]], reason: str) -> None:
    story = Story()
    story.zone = answers
    assert story.find() is None
    assert story.said == [f"dnswl-distrusted trust.conf:1 {reason}"]
    asked = len(story.asked)
    # It is left alone for an hour.
    story.zone = {NAME: ["127.0.5.2"]}
    assert story.find(later_s=dnswl.DISTRUST_S - 1) is None
    assert len(story.asked) == asked
    assert story.find(later_s=1) == ("trust.conf:1", 2)


def test_what_a_distrusted_list_said_is_forgotten() -> None:
    story = Story()
    doubted = list[tuple[str, float]]()
    story.lists.zones[0].doubted = lambda line, seconds: doubted.append((line.subject, seconds))
    story.zone = {NAME: ["127.0.5.2"]}
    assert story.find() == ("trust.conf:1", 2)
    story.zone[PROBE] = ["127.0.10.3"]
    assert story.find(OTHER, later_s=dnswl.PROBE_S) is None
    assert story.find() is None
    assert len(story.said) == 1
    # Since it was last seen to be sound.
    assert doubted == [("list.example", dnswl.PROBE_S)]


def test_an_answer_is_kept_for_its_time() -> None:
    story = Story()
    story.zone[NAME] = ["127.0.5.2"]
    for _ in range(5):
        story.find()
    story.find(OTHER)
    story.find(OTHER)
    assert story.asked == [PROBE, NAME, "8.2.0.192.list.example"]
    story.find(later_s=600)
    assert story.asked[3:] == [PROBE, NAME]


def test_one_question_for_a_host_at_a_time_and_some_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnswl, "MAX_FLYING", 3)
    story = Story()

    async def whole() -> None:
        hosts = [packed(f"192.0.2.{number}") for number in range(1, 6)]
        await asyncio.gather(*(story.lists.find(host) for host in hosts + hosts))

    asyncio.run(whole())
    assert sorted(story.asked) == sorted([PROBE, *(f"{number}.2.0.192.list.example" for number in range(1, 4))])
    assert story.lists.zones[0].passed_over == 4


def test_a_days_questions_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnswl, "MOST_A_DAY", 30)
    story = Story()
    for number in range(1, 9):
        story.find(packed(f"192.0.2.{number}"))
    assert len(story.asked) == 3
    assert story.said == ["dnswl-spent trust.conf:1 30"]
    assert (story.lists.zones[0].is_spent(), story.lists.zones[0].passed_over) == (True, 6)
    story.find(packed("192.0.2.9"), later_s=dnswl.DAY_S)
    assert len(story.asked) == 5


def test_without_an_answer_nobody_is_trusted_and_it_is_asked_again() -> None:
    story = Story()
    story.zone = {PROBE: ["fails"], NAME: ["127.0.5.2"]}
    assert story.find() is None
    story.zone = {NAME: ["fails"]}
    assert story.find() is None
    story.zone = {NAME: ["127.0.5.2"]}
    assert story.find() == ("trust.conf:1", 2)
    assert not story.said


def test_the_cache_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnswl, "MAX_CACHED", 2)
    story = Story()
    for number in (1, 2, 3, 1):
        story.find(packed(f"192.0.2.{number}"))
    assert len(story.asked) == 5


def test_addresses_of_this_host_are_not_asked_for() -> None:
    story = Story()
    assert story.find(packed("127.0.0.2")) is None
    assert not story.asked
