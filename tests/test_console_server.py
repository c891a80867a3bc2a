"""The connections of the console: how many there are and whose, slow ones, and TLS of its own. Real sockets."""
import http.client
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from mxallowd.console import server
from mxallowd.console.assets import Assets
from mxallowd.console.pages import Entry
from mxallowd.console.server import ACCEPTS, MOST, MOST_OF_A_CLIENT, MOST_TLS, TLS_BUFFER, tls_context
from mxallowd.console.visit import Visit
from mxallowd.control import wire
from mxallowd.control.exchange import Response
from tests.console_site import COOKIE, PASSWORD, Console
from tests.until import until


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with Console(tmp_path) as made:
        yield made


def asked(connection: socket.socket, cookie: str = "") -> int:
    """The status of an answer on a connection that stays."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_thousand_idle_and_slow_clients_keep_nobody_out(console: Console) -> None:
    cookie = console.log_in()
    with ExitStack() as stack:
        mine = stack.enter_context(console.connected("127.9.0.1"))
        assert asked(mine, cookie) == 200
        for number in range(1000):
            one = stack.enter_context(console.connected(f"127.6.{number // 50}.1"))
            if number % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")  # its end never comes
        assert until(lambda: len(console.server) <= MOST)
        began = time.monotonic()
        for number in range(5):
            assert console.ask("GET", "/", cookie=cookie, source=f"127.7.0.{number + 1}")[0] == 200
        assert time.monotonic() - began < 2
        # Nor has the one who has logged in lost his place.
        assert asked(mine, cookie) == 200


def test_one_client_has_so_many_and_his_idle_ones_make_room(console: Console) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(console.connected("127.8.0.2"))
        first, *rest = [stack.enter_context(console.connected("127.8.0.1")) for _ in range(MOST_OF_A_CLIENT)]
        assert until(lambda: len(console.server) == MOST_OF_A_CLIENT + 1)
        first.sendall(b"GET / HTTP/1.1\r\n")  # it waits for nothing of ours
        time.sleep(0.1)
        assert console.ask("GET", "/login", source="127.8.0.1")[0] == 200
        assert ended(rest[0])
        assert asked(rest[1]) == 303
        first.sendall(b"Host: x\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 303"
        assert asked(other) == 303


def test_a_named_proxy_is_many_clients(tmp_path: Path) -> None:
    with Console(tmp_path, proxies=["127.5.0.0/24"]) as console, ExitStack() as stack:
        made = [stack.enter_context(console.connected("127.5.0.1")) for _ in range(2 * MOST_OF_A_CLIENT)]
        assert [asked(one) for one in made] == [303] * len(made)


def test_who_is_slow_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_S", "HEAD_S", "BODY_S", "WRITE_S", "LINGER_S"):
        monkeypatch.setattr(wire, name, 0.3)

    async def large(_: Visit, __: object) -> Response:
        return Response(b"a" * (32 << 20), content_type="text/plain")

    with Console(tmp_path, pages=(Entry("/", "Large", large),)) as console:
        cookie = console.log_in()
        assert console.raw() == b""
        assert console.raw(b"GET /").startswith(b"HTTP/1.1 408 ")
        form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\n"
        assert console.raw(b"POST /login HTTP/1.1\r\nHost: x\r\n" + form, b"a=b").startswith(b"HTTP/1.1 408 ")
        with console.connected() as reader:
            reader.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\n\r\n".encode())
            assert until(lambda: len(console.server) == 1)
            assert console.ask("GET", "/login", cookie="")[0] == 200
            assert until(lambda: len(console.server) == 0)
            assert reader.recv(12) == b"HTTP/1.1 200"
        assert "defect" not in console.log.words()


# ---- TLS

@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture
def secure(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Console]:
    with Console(tmp_path, context=tls_context(*certificate)) as made:
        yield made


def over_tls(console: Console, certificate: tuple[Path, Path], source: str = "127.0.0.1") -> ssl.SSLSocket:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    return trusting.wrap_socket(console.connected(source), server_hostname="127.0.0.1")


def test_with_tls_cookies_are_for_tls_alone(secure: Console, certificate: tuple[Path, Path]) -> None:
    form = f"name=anna&password={PASSWORD.replace(' ', '+')}".encode()
    with over_tls(secure, certificate) as made:
        made.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nContent-Length: %d\r\n"
                     b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" % len(form) + form)
        answer = made.recv(65_536).decode()
        assert answer.startswith("HTTP/1.1 303 ")
        assert "\r\nSet-Cookie: __Host-mxallowd=" in answer
        assert "; Secure\r\n" in answer
        assert "\r\nStrict-Transport-Security: max-age=" in answer
        # A page of the same name without TLS is another site.
        made.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: %d\r\n"
                     b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" % len(form) + form)
        assert made.recv(65_536).startswith(b"HTTP/1.1 403 ")


def test_a_refusal_and_the_end_come_through_tls(secure: Console, certificate: tuple[Path, Path]) -> None:
    with over_tls(secure, certificate) as made:
        made.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b"".join(iter(partial(made.recv, 65_536), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"Strict-Transport-Security" in answer
    assert until(lambda: len(secure.server) == 0)
    assert secure.log.words() == []


def test_what_is_no_tls_is_closed_quietly(
    secure: Console, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 1.0)
    for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x80" * 5000, b""):
        assert not secure.raw(sent).startswith(b"HTTP/")
    with ExitStack() as stack:
        assert until(lambda: len(secure.server) == 0)
        first = stack.enter_context(secure.connected("127.6.1.1"))
        # It counts before its handshake.
        assert until(lambda: len(secure.server) == 1)
        silent = [stack.enter_context(secure.connected(f"127.6.0.{number % 20 + 1}")) for number in range(600)]
        # Those who make room go in the next turn of the loop.
        assert len(secure.server) <= MOST_TLS + ACCEPTS
        with over_tls(secure, certificate, "127.7.0.1") as made:
            assert asked(made) == 303
        assert ended(first)
        assert ended(silent[-1])
    assert until(lambda: len(secure.server) == 0)
    assert secure.log.words() == []
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


def test_a_connection_with_tls_takes_little_memory(secure: Console, certificate: tuple[Path, Path]) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with ExitStack() as stack:
        stack.enter_context(over_tls(secure, certificate))
        before = resident()
        for number in range(100):
            stack.enter_context(over_tls(secure, certificate, f"127.6.0.{number % 4 + 1}"))
        assert until(lambda: len(secure.server) == 101)
        # Two ends of each are here; asyncio's own buffer alone would be 256 KiB.
        each = (resident() - before) / 100
        assert each < TLS_BUFFER + 160_000


def test_a_key_with_a_passphrase_asks_nobody(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    locked = tmp_path / "key.pem"
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", certificate[1], "-out", locked],
                   check=True, capture_output=True, timeout=30)
    with pytest.raises(OSError):
        tls_context(certificate[0], locked)


@pytest.mark.parametrize("tls", [False, True])
def test_little_is_made_and_kept_for_who_does_not_read(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, *, tls: bool,
) -> None:
    given: list[int] = []

    def given_of(_: Assets, name: str, known: str = "") -> Response:
        given.append(50_000)
        return Response(b"a" * 50_000, content_type="text/plain")

    monkeypatch.setattr(Assets, "get", given_of)
    with Console(tmp_path, context=tls_context(*certificate) if tls else None) as console, ExitStack() as stack:
        made = stack.enter_context(over_tls(console, certificate) if tls else console.connected())
        made.settimeout(0.5)
        with suppress(TimeoutError):
            made.sendall(b"GET /files/a HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        assert until(lambda: bool(given))
        time.sleep(0.5)
        # The kernel keeps some of them, the console two pieces besides, and the client what it would have read.
        assert sum(given) < 1_000_000


def test_who_breaks_his_connection_leaves_no_line(
    secure: Console, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(5):
        with over_tls(secure, certificate) as made:
            made.settimeout(0.1)
            with suppress(TimeoutError):
                made.sendall(b"HEAD /files/icon.svg HTTP/1.1\r\nHost: x\r\n\r\n" * 6500)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert until(lambda: len(secure.server) == 0)
    assert secure.log.words() == []
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


def test_with_tls_an_answer_waits_for_no_acknowledgement(secure: Console, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    took = []
    for _ in range(11):
        asking = http.client.HTTPSConnection("127.0.0.1", secure.port, timeout=5, context=trusting)
        began = time.monotonic()
        asking.request("GET", "/login")
        assert asking.getresponse().read()
        took.append(time.monotonic() - began)
        asking.close()
    assert sorted(took)[5] < 0.035  # the kernel holds an acknowledgement back for 40 ms
