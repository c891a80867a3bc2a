"""Names that another gateway has confirmed: a host of such a name that was refused here gets in here."""
import pytest

from mxallowd.dns.hostnames import LONGEST_NAME
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import packed
from mxallowd.sinks import pools, rdns
from tests.test_rdns_sink import Scene, run
from tests.test_told import HOUR_S, SECOND, wire

ELSEWHERE, HERE = "192.0.2.1", "192.0.2.2"
NAME = "mail.example.org"


class Fleet(Scene):
    """A sink here, and a contact with the fake server of another gateway."""

    def __init__(self, words: str = "") -> None:
        super().__init__(words, told=1000)
        self.zone.add(HERE, NAME)

    def hear(self, *names: str, host: str = ELSEWHERE) -> None:
        """The contact and its names are told."""
        self.whitelist.told(
            wire(packed(host)), age_us=0, longest_us=HOUR_S * SECOND, gateway=1, teller=None)
        self.whitelist.told_names(packed(host), names)


@pytest.mark.parametrize("refused_first", [False, True])
def test_a_host_of_a_told_name_gets_in(refused_first: bool) -> None:
    async def story() -> None:
        scene = Fleet()
        if refused_first:
            scene.refuse(HERE)
            await scene.settle()
            assert not scene.listed(HERE)
        scene.hear(NAME)
        if not refused_first:
            scene.refuse(HERE)
        await scene.settle()
        assert scene.listed(HERE)
        entry = scene.whitelist.entry(packed(HERE))
        assert entry is not None and (entry.origin, entry.way) == ("child", NAME)
        # Nobody asked about the contact: that was done elsewhere.
        assert not any("1.2.0.192" in one for one in scene.zone.asked)
    run(story)


@pytest.mark.parametrize("end", ["remove", "flush", "never-listed", "no-children", "other-name"])
def test_who_does_not_get_in_by_a_told_name(end: str) -> None:
    async def story() -> None:
        scene = Fleet("--rdns-max-children 0" if end == "no-children" else "")
        if end == "never-listed":
            scene.whitelist.told_names(packed(ELSEWHERE), [NAME])
        else:
            scene.hear("other.example.org" if end == "other-name" else NAME)
        if end == "remove":
            assert scene.whitelist.told_end(packed(ELSEWHERE), boottime_us(), teller=None)
        if end == "flush":
            assert await scene.whitelist.told_flush(1, boottime_us(), teller=None) == 1
        scene.refuse(HERE)
        await scene.settle()
        assert not scene.listed(HERE)
    run(story)


def test_a_name_that_is_none_does_no_harm() -> None:
    async def story() -> None:
        scene = Fleet()
        scene.hear("", ".", "com", "a b.example.org", "\x1b[2J.example.org", "x" * LONGEST_NAME + "x", NAME)
        assert len(scene.sink._told_names) == 0
        scene.hear("", NAME.upper() + ".")
        assert len(scene.sink._told_names) == 1
        scene.refuse(HERE)
        await scene.settle()
        assert scene.listed(HERE)
    run(story)


def test_told_names_push_out_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdns, "MAX_KNOWN_NAMES", 8)

    async def story() -> None:
        scene = Fleet()
        scene.zone.add("192.0.2.9", NAME)
        scene.contact("192.0.2.9")
        await scene.settle()
        for number in range(100):
            scene.hear(f"n{number}.example.org", host=f"198.51.100.{number}")
        assert len(scene.sink._told_names) == 8
        # Nor do removals of hosts without a name let all names be forgotten.
        for number in range(80):
            scene.whitelist.told_end(packed(f"198.51.100.{number}"), boottime_us(), teller=None)
        scene.refuse(HERE)
        await scene.settle()
        assert scene.listed(HERE)
    run(story)


def test_confirmed_names_of_a_contact_are_there_to_be_said() -> None:
    async def story() -> None:
        scene = Fleet()
        said: list[tuple[bytes, list[str]]] = []
        scene.whitelist.named = lambda host, names: said.append((host, list(names)))
        scene.contact(HERE)
        await scene.settle()
        assert said == [(packed(HERE), [NAME])]
    run(story)


@pytest.mark.parametrize(("words", "refused_first", "listed"), [
    ("--pool-domain", False, True), ("--pool-domain", True, True), ("", False, False)])
def test_a_told_contact_founds_its_pool(words: str, refused_first: bool, listed: bool) -> None:
    async def story() -> None:
        scene = Fleet(words)
        if refused_first:
            scene.refuse(HERE)
            await scene.settle()
        scene.hear("out7.example.org")
        if not refused_first:
            scene.refuse(HERE)
        await scene.settle()
        assert scene.listed(HERE) == listed
        entry = scene.whitelist.entry(packed(HERE))
        assert not listed or (entry is not None and entry.way == f"pool example.org by {ELSEWHERE} as {NAME}")
    run(story)


def test_told_pools_leave_room_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_DOMAINS", 8)

    async def story() -> None:
        scene = Fleet("--pool-domain")
        for number in range(20):
            scene.hear(f"out.n{number}.example", host=f"198.51.100.{number + 1}")
        found = scene.sink._pools
        assert len(found) == 4
        scene.zone.add("192.0.2.9", "out.ours.example")
        scene.contact("192.0.2.9")
        await scene.settle()
        assert found.founder(packed("203.0.113.1"), "mail.ours.example") == ("ours.example", packed("192.0.2.9"))
    run(story)
