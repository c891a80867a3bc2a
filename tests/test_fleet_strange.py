"""What others may put into the stream, and what an engine that was taken over may reply: bounded, said in a line."""
import asyncio
import re
from collections.abc import Iterator

import pytest

from lab.engine import Engine
from lab.gateways import Place, Site
from lab.hosts import supported
from mxallowd.fleet import replies
from mxallowd.fleet.link import FIRST, Id, Link
from mxallowd.fleet.login import Login
from mxallowd.fleet.opening import LinkError, LongReply
from mxallowd.fleet.remedies import remedy
from mxallowd.settings.fleet import CLI
from tests.test_fleet_link import STREAM, Work, against, ask

STRANGE = "it does not answer as Redis does"
NOBODY = Login()
REMEDY = f"the remedy is {CLI} del {STREAM}"


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Place, Engine]]:
    """A host that asks, and an engine where everybody may do everything."""
    if reason := supported():
        pytest.skip(reason)
    with Site() as site, Engine(site.place("engine")) as engine:
        yield site.place("asks"), engine


def test_huge_messages_are_passed_over(place: tuple[Place, Engine]) -> None:
    host, engine = place
    engine.do("DEL", STREAM)
    fields = [word for number in range(10) for word in (f"f{number}", bytes(1 << 20))]
    engine.do("XADD", STREAM, "1-1", *fields)
    engine.do("XADD", STREAM, "2-1", *[b"x"] * 20_000)
    engine.do("XADD", STREAM, "3-1", "d", "small")
    engine.do("XADD", STREAM, "4-1", "d", bytes(1 << 20))

    async def work(link: Link) -> None:
        assert await link.read(STREAM, FIRST, 9) == [(b"1-1", None), (b"2-1", None), (b"3-1", b"small"), (b"4-1", None)]
        assert await link.stream(STREAM) == (4, Id(4, 1), Id(1, 1))

    assert ask(host, f"redis://{engine.address}", work, NOBODY) is None


def test_a_message_that_cannot_be_read_is_said_with_the_remedy(
        place: tuple[Place, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    host, engine = place
    monkeypatch.setattr(replies, "MOST_REPLY", 1 << 20)
    engine.do("DEL", STREAM)
    engine.do("XADD", STREAM, "1-1", "a", bytes(1 << 20), "d", bytes(1 << 20))
    url = f"redis://{engine.address}"
    many = ask(host, url, lambda link: link.read(STREAM, FIRST, 2), NOBODY)
    assert isinstance(many, LongReply)
    for work in (lambda link: link.read(STREAM, FIRST, 1), lambda link: link.stream(STREAM)):
        one = ask(host, url, work, NOBODY)
        assert str(one) == (f"{engine.address}:6379: a reply is longer than 1 MiB, so a message of {STREAM} "
                            f"cannot be read; {REMEDY}")
        assert one.remedy.startswith(f"{CLI} del {STREAM}")
    engine.do("DEL", STREAM)


def test_what_is_dropped_at_once_is_no_message(place: tuple[Place, Engine]) -> None:
    host, engine = place
    engine.do("DEL", STREAM)

    async def work(link: Link) -> None:
        reading = asyncio.create_task(link.read(STREAM, FIRST, 9))
        await asyncio.sleep(0.05)
        engine.do("XADD", STREAM, "MAXLEN", 0, "*", "d", "x")
        assert await reading == []

    assert ask(host, f"redis://{engine.address}", work, NOBODY) is None


MESSAGE = b"*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nd\r\n$1\r\nx\r\n"
READ: Work = lambda link: link.read(STREAM, FIRST, 2)  # noqa: E731
MASTER: Work = lambda link: link.master("x")  # noqa: E731


@pytest.mark.parametrize(("reply", "work", "says"), [
    (b"*1\r\n*2\r\n$1\r\nk\r\n*3\r\n" + 3 * MESSAGE, READ, STRANGE),
    (b"*1\r\n*2\r\n$1\r\nk\r\n*2\r\n*2\r\n:5\r\n*0\r\n" + MESSAGE, READ, STRANGE),
    (b"*1000000000\r\n", READ, "Connection closed by server"),
    (b"*2\r\n,inf\r\n,inf\r\n", lambda link: link.time_us(), STRANGE),
    (b"*2\r\n$20\r\n99999999999999999999\r\n:0\r\n", lambda link: link.time_us(), STRANGE),
    (b"*2\r\n:-1\r\n:0\r\n", lambda link: link.time_us(), STRANGE),
    (b">0\r\n", READ, STRANGE),
    (b"*2\r\n$1\r\nh\r\n$5\r\n99999\r\n", MASTER, STRANGE),
    (b"*2\r\n$1\r\nh\r\n$2\r\n-1\r\n", MASTER, STRANGE),
    (b"*2\r\n$9000\r\n%s\r\n$2\r\n25\r\n" % (b"\1" * 9000), MASTER, STRANGE),
    (b"-\r\n", READ, "it refuses that, and does not say why"),
    (b"-MOVED 1 127.0.0.1:25\r\n", READ, "it belongs to a cluster, and the list is at another server of it"),
    (b"-MOVED x\r\n", READ, STRANGE),
    (b"-ERR %s\r\n" % (b"\x01" * 3000), READ, r"\x01" * 50)])
def test_strange_replies(reply: bytes, work: Work, says: str) -> None:
    error = against(reply, work)
    assert isinstance(error, LinkError)
    assert says.lower() in str(error).lower()
    assert len(str(error)) < 500
    assert "defect" not in str(error)


def test_an_engine_that_says_much_of_itself() -> None:
    lines = b"a\1:\1\r\n" * 2000 + b"redis_version:7.0.0\r\nrole:slave\r\nmaxmemory_policy:noeviction\r\n"
    about = against(3 * (b"$%d\r\n%s\r\n" % (len(lines), lines)), lambda link: link.about())
    assert about == ("7.0.0", False, "noeviction")
    long = bytes(1 << 15)
    error = against(3 * (b"$%d\r\n%s\r\n" % (len(long), long)), lambda link: link.about())
    assert STRANGE in str(error)


def test_errors_are_as_long_as_a_line() -> None:
    assert len(str(LinkError("x" * 10_000_000))) == 400
    assert re.fullmatch("x+", str(LinkError("x" * 400)))


def test_another_thing_under_the_key_is_said_with_the_remedy(place: tuple[Place, Engine]) -> None:
    host, engine = place
    engine.do("DEL", STREAM)
    engine.do("SET", STREAM, "x")
    for work in (lambda link: link.read(STREAM, FIRST, 2), lambda link: link.stream(STREAM)):
        error = ask(host, f"redis://{engine.address}", work, NOBODY)
        assert f"{CLI} del" in remedy(error)
    engine.do("DEL", STREAM)
