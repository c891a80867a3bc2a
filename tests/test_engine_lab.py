"""The harness of the fleet's tests: the engine starts, hangs, dies and fails over as told, and gateways reach it."""
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lab.authority import Authority
from lab.engine import PORT, SENTINEL_PORT, Engine, Sentinel, Setup, cut_off, programs
from lab.gateways import Place, Site
from lab.hosts import FAKE4, REAL4, Attempt
from lab.namespaces import visit
from tests.until import until


@pytest.fixture
def site(namespaces: None) -> Iterator[Site]:
    """A switch."""
    with Site() as made:
        yield made


def seen_from(place: Place, engine: Engine, **more: object) -> str:
    """What PING from a host gives: PONG, or the name of the error."""
    with visit(place.host.name):
        client = redis.Redis(engine.address, PORT, protocol=2, socket_timeout=0.3, socket_connect_timeout=0.3,
                             retry=None, **more)  # type: ignore[arg-type]
        with client:
            try:
                return "PONG" if client.ping() else "nothing"
            except (redis.RedisError, OSError) as error:
                return type(error).__name__


@pytest.mark.parametrize("name", programs())
def test_an_engine_hangs_dies_and_comes_again(site: Site, name: str) -> None:
    """Of each program that is here."""
    lab, gateway = site.gateway("a")
    place = site.place("engine")
    with Engine(place, Setup(program=programs()[name], keep=True)) as engine:
        assert seen_from(gateway, engine) == "PONG"
        with engine.paused():
            assert seen_from(gateway, engine) == "TimeoutError"
        for cut in (gateway, place):
            with cut_off(cut):
                assert seen_from(gateway, engine) == "TimeoutError"
                assert engine.do("PING")
        engine.do("SET", "kept", "1")
        # What it keeps is written each second.
        time.sleep(1.1)
        engine.kill()
        assert seen_from(gateway, engine) == "ConnectionError"
        engine.restart()
        assert engine.do("GET", "kept") == b"1"
        engine.kill()
        engine.restart(empty=True)
        assert engine.do("GET", "kept") is None
        assert seen_from(gateway, engine) == "PONG"
    assert not engine.directory.exists()
    # Another network, in which a gateway is what it is in the lab.
    client = lab.client("client", "192.0.2.101")
    with lab.gateway.serve(REAL4):
        assert client.attempt(REAL4) is Attempt.CONNECTED
        assert client.attempt(FAKE4) is Attempt.REFUSED


def test_it_asks_for_a_login_and_for_certificates(site: Site, tmp_path: Path) -> None:
    _, gateway = site.gateway("a")
    place = site.place("engine")
    authority, other = Authority(tmp_path / "own"), Authority(tmp_path / "other", "other")
    mine = authority.sign("gateway")
    setup = Setup(users=("one on >secret ~a +ping +hello",), tls=authority, ask_certificates=True)
    with Engine(place, setup) as engine:
        login = {"username": "one", "password": "secret"}
        tls = {"ssl": True, "ssl_ca_certs": str(authority.own.certificate), "ssl_certfile": str(mine.certificate),
               "ssl_keyfile": str(mine.key)}
        assert seen_from(gateway, engine, **login, **tls) == "PONG"
        assert seen_from(gateway, engine, **tls) == "AuthenticationError"
        assert seen_from(gateway, engine, **{**login, "password": "wrong"}, **tls) == "AuthenticationError"
        assert seen_from(gateway, engine, **login) == "ConnectionError"
        without = {word: value for word, value in tls.items() if "file" not in word}
        assert seen_from(gateway, engine, **login, **without) == "ConnectionError"
        trusting = {**tls, "ssl_ca_certs": str(other.own.certificate)}
        assert seen_from(gateway, engine, **login, **trusting) == "ConnectionError"
    assert ssl.create_default_context(cafile=str(other.own.certificate)).get_ca_certs()


def test_sentinels_replace_an_engine_that_died(site: Site) -> None:
    places = [site.place(name) for name in ("one", "two", "sentinels")]
    with Engine(places[0]) as first, Engine(places[1], Setup(replica_of=first.address)) as second:
        assert until(lambda: second.is_replica_of(first.address))
        first.do("SET", "kept", "1")
        watching = [Sentinel(places[2], first.address, port=SENTINEL_PORT + number)
                    for number in range(3)]
        with watching[0] as one, watching[1], watching[2]:
            assert until(lambda: one.knows() == (1, 2))
            first.kill()
            assert until(second.is_master)
            assert second.do("GET", "kept") == b"1"
