"""A connection to a real engine: what it gives, and that each failure is one line that says what is wrong."""
import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.authority import Authority
from lab.engine import MASTER, SENTINEL_PORT, Engine, Sentinel, Setup
from lab.gateways import Place, Site
from lab.hosts import supported
from lab.namespaces import visit
from mxallowd.errors import StartError
from mxallowd.fleet.link import FIRST, LARGEST, About, Link, find_master
from mxallowd.fleet.login import Login
from mxallowd.fleet.opening import LinkError, Way, tls_context, ways
from mxallowd.settings.fleet import engine as engine_of

STREAM = "mxallowd:example:log"
USERS = ("default off", f"gateway on >s3cr3t ~{STREAM} -@all +xadd +xread +xinfo|stream +info +time +client|setname")
GATEWAY = Login("gateway", "s3cr3t")
Work = Callable[[Link], Awaitable[Any]]


async def literal(host: str) -> Sequence[str]:
    return [host]


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Place]]:
    """A switch, and a host there that asks."""
    if reason := supported():
        pytest.skip(reason)
    with Site() as made:
        yield made, made.place("asks")


@pytest.fixture(scope="module")
def engine(site: tuple[Site, Place]) -> Iterator[Engine]:
    """One with the rights of the documents."""
    with Engine(site[0].place("engine"), Setup(users=USERS)) as made:
        yield made


def ask(
    place: Place, url: str, work: Work, login: Login = GATEWAY, *, tls: ssl.SSLContext | None = None, name: str = "",
) -> Any:
    """What `work` gives with a link that is open, or the error."""

    async def run() -> Any:
        where = engine_of(url)
        link = Link(ways(where, tls, literal)[0], login, database=where.database, name=name)
        try:
            await link.open()
            return await work(link)
        except LinkError as error:
            return error
        finally:
            link.close()

    with visit(place.host.name):
        return asyncio.run(run())


async def nothing(_: Link) -> None:
    return None


def test_what_was_said_is_read(site: tuple[Site, Place], engine: Engine) -> None:
    async def work(link: Link) -> None:
        about = await link.about()
        assert about == About(about.version, True, "noeviction")
        assert about.version.split(".")[0].isdecimal()
        empty = await link.stream(STREAM)
        assert (empty.length, empty.last, empty.first) == (0, FIRST, None)
        first, second = [await link.add(STREAM, data, 0) for data in (b"one\r\n\0", b"two")]
        assert first < second
        assert abs(await link.time_us() // 1000 - second.ms) < 1000
        both = [(str(first).encode(), b"one\r\n\0"), (str(second).encode(), b"two")]
        assert await link.read(STREAM, FIRST, 10) == both
        assert await link.read(STREAM, first, 10) == both[1:]
        assert await link.read(STREAM, FIRST, 1) == both[:1]
        assert await link.stream(STREAM) == (2, second, first)
        assert await link.read(STREAM, second, 10, wait=False) == []

    assert ask(site[1], f"redis://{engine.address}", work, name="mxallowd-a") is None


def test_a_reader_waits_for_what_comes(site: tuple[Site, Place], engine: Engine) -> None:
    async def work(link: Link) -> None:
        last = (await link.stream(STREAM)).last
        other = Link(link.way, GATEWAY)
        await other.open()
        reading = asyncio.create_task(link.read(STREAM, last, 10))
        await asyncio.sleep(0.05)
        assert not reading.done()
        added = await other.add(STREAM, b"new", 0)
        assert await reading == [(str(added).encode(), b"new")]
        other.close()

    assert ask(site[1], f"redis://{engine.address}", work) is None


def test_foreign_messages_are_empty(site: tuple[Site, Place], engine: Engine) -> None:
    engine.do("DEL", STREAM)
    engine.do("XADD", STREAM, "1-1", "x", "y", "z", "")
    engine.do("XADD", STREAM, "2-1", "d", "")
    assert ask(site[1], f"redis://{engine.address}", lambda link: link.read(STREAM, FIRST, 9)) == [
        (b"1-1", None), (b"2-1", b"")]
    engine.do("DEL", STREAM)


@pytest.mark.parametrize(("login", "says", "code"), [
    (Login(), "it wants a login (fleet-login-file)", "NOAUTH"),
    (Login("gateway", "wr0ng"), "it refuses user or password (fleet-login-file)", "WRONGPASS"),
    (Login("nobody", "s3cr3t"), "it refuses user or password (fleet-login-file)", "WRONGPASS"),
])
def test_a_login_that_is_refused(
        site: tuple[Site, Place], engine: Engine, login: Login, says: str, code: str) -> None:
    error = ask(site[1], f"redis://{engine.address}", lambda link: link.about(), login)
    assert str(error) == f"{engine.address}:6379: {says}"
    assert error.code == code


@pytest.mark.parametrize(("prepare", "work", "says", "code"), [
    ((), lambda link: link.call("GET", "x"), "no permissions", "NOPERM"),
    (("SET", STREAM, "x"), lambda link: link.read(STREAM, FIRST, 1), "wrong kind of value", "WRONGTYPE"),
    (("XADD", STREAM, f"{LARGEST}-{LARGEST}", "d", "x"), lambda link: link.add(STREAM, b"x", 0), "last possible",
     "ERR"),
    (("CONFIG", "SET", "maxmemory", "1"), lambda link: link.add(STREAM, b"x", 0), "it has no memory left", "OOM"),
])
def test_what_the_engine_refuses(
        site: tuple[Site, Place], engine: Engine, prepare: tuple[str, ...], work: Work, says: str, code: str) -> None:
    """The connection stays, since the reply has been read."""
    async def tried(link: Link) -> tuple[LinkError, int]:
        with pytest.raises(LinkError) as error:
            await work(link)
        return error.value, await link.time_us()

    try:
        if prepare:
            engine.do(*prepare)
        error, time_us = ask(site[1], f"redis://{engine.address}", tried)
    finally:
        engine.do("CONFIG", "SET", "maxmemory", "0")
        engine.do("DEL", STREAM)
    assert says in str(error)
    assert "\n" not in str(error)
    assert error.code == code
    assert time_us


def test_who_cannot_be_reached(site: tuple[Site, Place], engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxallowd.fleet.opening.CONNECT_S", 0.1)
    monkeypatch.setattr("mxallowd.fleet.link.REPLY_S", 0.3)
    for url, says in (
            (f"redis://{engine.address}:1", f"{engine.address}:1: Connection refused"),
            ("redis://198.51.100.250", "198.51.100.250:6379: no connection within 0.1 s"),
            ("unix:///nowhere/engine.sock", "/nowhere/engine.sock: No such file or directory"),
            (f"redis://{engine.address}/9", f"{engine.address}:6379: this user has no permissions to run the 'select' "
             "command")):
        assert str(ask(site[1], url, nothing)) == says
    with engine.paused():
        assert str(ask(site[1], f"redis://{engine.address}", nothing)) == (
            f"{engine.address}:6379: no answer within 0.3 s")


def test_a_connection_that_is_lost(site: tuple[Site, Place], engine: Engine) -> None:
    async def work(link: Link) -> list[str]:
        said = []
        engine.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(2):
            with pytest.raises(LinkError) as error:
                await link.time_us()
            assert error.value.code == ""
            said.append(str(error.value).partition(": ")[2])
        return said

    first, second = ask(site[1], f"redis://{engine.address}", work)
    assert first.startswith("the connection is lost: ")
    assert second == "there is no connection"


def test_a_question_given_up_closes_the_connection(site: tuple[Site, Place], engine: Engine) -> None:
    """Else its answer would be that of the next one."""
    async def work(link: Link) -> str:
        reading = asyncio.create_task(link.read(STREAM, FIRST, 1))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(LinkError) as error:
            await link.time_us()
        return str(error.value)

    assert ask(site[1], f"redis://{engine.address}", work).endswith("there is no connection")


def test_tls_and_certificates_of_both_sides(site: tuple[Site, Place], tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    client = ours.sign("gateway")
    setup = Setup(tls=ours, ask_certificates=True)
    with Engine(site[0].place("tls"), setup) as engine:
        url = f"rediss://{engine.address}"
        both = tls_context(ours.own.certificate, client.certificate, client.key)
        assert ask(site[1], url, lambda link: link.about(), Login(), tls=both).master
        strange = ask(site[1], url, nothing, Login(), tls=tls_context(others.own.certificate, None, None))
        assert str(strange) == (f"{engine.address}:6379: its certificate does not count: "
                                "self-signed certificate in certificate chain")
        unshown = tls_context(ours.own.certificate, None, None)
        assert ": the connection is lost: " in str(ask(site[1], url, lambda link: link.about(), Login(), tls=unshown))
        plain = ask(site[1], f"redis://{engine.address}", lambda link: link.about(), Login())
        assert isinstance(plain, LinkError)


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    authority, empty = Authority(tmp_path / "ca"), tmp_path / "empty.pem"
    empty.write_text("", encoding="ascii")
    empty.chmod(0o600)
    known = authority.own
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o644)
    for files, says in (
            ((tmp_path / "none", None, None), f'fleet-ca-file: "{tmp_path}/none" cannot be used: No such file'),
            ((empty, None, None), f'fleet-ca-file: "{empty}" cannot be used: '),
            ((None, empty, None), f'fleet-cert-file: "{empty}" cannot be used: '),
            ((fifo, None, None), f'fleet-ca-file: "{fifo}" cannot be used: it is no regular file'),
            ((None, fifo, None), f'fleet-cert-file: "{fifo}" cannot be used: it is no regular file'),
            ((None, known.certificate, fifo), f'fleet-cert-key-file: "{fifo}" cannot be used: it is no regular file'),
            ((Path("/dev/zero"), None, None), 'fleet-ca-file: "/dev/zero" cannot be used: it is no regular file'),
            ((None, known.certificate, None), f'fleet-cert-file: "{known.certificate}" cannot be used: '),
            ((None, known.certificate, authority.sign("x").key), f'fleet-cert-file: "{known.certificate}" cannot be')):
        with pytest.raises(StartError) as error:
            tls_context(*files)
        assert str(error.value).startswith(says)
        assert "\n" not in str(error.value)


def test_sentinels_tell_the_master(site: tuple[Site, Place]) -> None:
    with Engine(site[0].place("master")) as master, Sentinel(site[0].place("sentinel"), master.address) as sentinel:
        async def find(name: str, *hosts: str) -> str:
            found = ways(engine_of(f"redis://{','.join(hosts)}/{name}"), None, literal)
            return str(await find_master(found, name, Login()))

        with visit(site[1].host.name):
            dead = f"{sentinel.address}:1"
            assert asyncio.run(find(MASTER, dead, sentinel.address)) == f"{master.address}:6379"
            with pytest.raises(LinkError) as error:
                asyncio.run(find("other", dead, sentinel.address))
        assert str(error.value) == (
            f"no Sentinel tells where the master other is: {sentinel.address}:1: Connection refused; "
            f"{sentinel.address}:{SENTINEL_PORT}: it knows no such master")


# ---- an engine that somebody took over


def against(replies: bytes, work: Work, *, endless: bytes = b"") -> Any:
    """What `work` gives where the other side sends just this, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            made, _ = listener.accept()
            with made:
                try:
                    made.recv(1 << 16)
                    made.sendall(replies)
                    while endless:
                        made.sendall(endless)
                    made.shutdown(socket.SHUT_WR)
                    while made.recv(1 << 16):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()

        async def run() -> Any:
            link = Link(Way("127.0.0.1", listener.getsockname()[1], None, None, literal), Login())
            try:
                await link.open()
                return await work(link)
            except LinkError as error:
                return error
            finally:
                link.close()

        found = asyncio.run(run())
        thread.join(10)
        return found


def test_a_reply_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxallowd.fleet.replies.MOST_REPLY", 1 << 20)
    error = against(b"$1000000000\r\n", lambda link: link.about(), endless=bytes(1 << 16))
    assert str(error).endswith(": a reply is longer than 1 MiB")


ASKED: tuple[Work, ...] = (
    lambda link: link.read(STREAM, FIRST, 1), lambda link: link.stream(STREAM), lambda link: link.time_us(),
    lambda link: link.about(), lambda link: link.add(STREAM, b"x", 0), lambda link: link.master("x"))
WORD = st.one_of(
    st.integers(-2, 9).map(lambda value: b":%d\r\n" % value), st.binary(max_size=9).map(
        lambda value: b"$%d\r\n%s\r\n" % (len(value), value)), st.just(b"$-1\r\n"), st.just(b"*-1\r\n"),
    st.sampled_from([b"+OK\r\n", b"-ERR s3cr3t\r\n", b"$3\r\n1-1\r\n", b"$1\r\nd\r\n"]))
REPLY = st.recursive(WORD, lambda inner: st.lists(inner, max_size=4).map(
    lambda values: b"*%d\r\n%s" % (len(values), b"".join(values))), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(st.one_of(REPLY, st.binary(max_size=40)), st.sampled_from(ASKED))
def test_whatever_is_replied_is_a_value_or_a_line(reply: bytes, work: Work) -> None:
    found = against(reply, work)
    assert not isinstance(found, LinkError) or "\n" not in str(found)
