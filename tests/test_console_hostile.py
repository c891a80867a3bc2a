"""What no browser should send to the console, on real sockets: refused, bounded, shown as text."""
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mxallowd.console.guard import MOST_BYTES, MOST_FIELDS, own_target
from mxallowd.console.site import SECURITY
from mxallowd.control.wire import MAX_HEAD
from tests.console_site import COOKIE, PASSWORD, Console

START = b"GET /login HTTP/1.1\r\nHost: x\r\n"
FORM = b"name=anna&password=b"
LENGTH = b"Content-Length: %d\r\n" % len(FORM)
POST = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
CHUNKS = b"\r\n14\r\n" + FORM + b"\r\n0\r\n\r\n"

# What is sent, and the status of the answer; after each the connection is closed, and no second answer comes.
REFUSED = {
    "both lengths": (POST + LENGTH + b"Transfer-Encoding: chunked\r\n" + CHUNKS, 400),
    "both lengths, the other way": (POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + CHUNKS, 400),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n" + CHUNKS, 400),
    "two equal lengths": (POST + LENGTH + LENGTH + b"\r\n" + FORM, 400),
    "two different lengths": (POST + LENGTH + b"Content-Length: 3\r\n\r\n" + FORM, 400),
    "two lengths in one": (POST + b"Content-Length: 20, 20\r\n\r\n" + FORM, 400),
    "a length with a sign": (POST + b"Content-Length: +20\r\n\r\n" + FORM, 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x14\r\n\r\n" + FORM, 400),
    "no length": (POST + b"\r\n" + FORM, 411),
    "a form that is too long": (POST + b"Content-Length: %d\r\n\r\n" % (MOST_BYTES + 1) + b"a=" * 40_000, 413),
    "bare LF": (START.replace(b"\r\n", b"\n") + b"\n", 400),
    "bare LF behind a field": (START + b"A: b\n\r\n", 400),
    "LF for the empty line": (START + b"\n", 400),
    "a CR within a line": (START + b"A: b\rc\r\n\r\n", 400),
    "a folded field": (START + b"A: b\r\n c\r\n\r\n", 400),
    "a zero byte": (START + b"A: b\0\r\n\r\n", 400),
    "a blank before the colon": (START + b"A : b\r\n\r\n", 400),
    "a field without a name": (START + b": b\r\n\r\n", 400),
    "no host": (b"GET /login HTTP/1.1\r\n\r\n", 400),
    "two hosts": (START + b"Host: y\r\n\r\n", 400),
    "another version": (START.replace(b"1.1", b"2.0") + b"\r\n", 505),
    "HTTP/0.9": (b"GET /login\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "20,000 fields": (START + b"A: b\r\n" * 20_000 + b"\r\n", 431),
    "200 fields": (START + b"A: b\r\n" * 200 + b"\r\n", 431),
    "a field that is too long": (START + b"Cookie: " + b"a" * (2 << 20) + b"\r\n\r\n", 431),
    "a target that is too long": (b"GET /" + b"a" * (MAX_HEAD + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "a body with GET": (START + b"Content-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 400),
} | {f"Transfer-Encoding as {sent!r}": (POST + LENGTH + sent + CHUNKS, status) for status, sent in (
    (501, b"Transfer-Encoding: xchunked\r\n"), (400, b"Transfer-Encoding:\tchunked\r\n"),
    (501, b"Transfer-Encoding: identity\r\n"), (400, b"transfer-encoding: CHUNKED\r\n"),
    (501, b"Transfer-Encoding: chunked, gzip\r\n"), (501, b"Transfer-Encoding: \r\n"),
    (400, b"Transfer-Encoding : chunked\r\n"), (400, b"X: y\r\n Transfer-Encoding: chunked\r\n"),
    (400, b"Transfer-Encoding\r\n: chunked\r\n"), (400, b"Transfer-Encoding: \x0bchunked\r\n"),
    (501, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"))}

TRAVERSALS = [
    "/files/../users", "/files/..%2fusers", "/files/%2e%2e/users", "/files/%2e%2e%2fusers",
    "/files/%252e%252e%252fusers", "/files/..\\users", "/files/..%5cusers", "/files/%5c..%5cusers",
    "/files//etc/passwd", "/files/%2fetc%2fpasswd", "/files/console.css%00", "/files/%00", "/files/.", "/files/",
    "/files", "/files/../../../../etc/passwd", "/files/..;/users", "/files/%c0%ae%c0%ae/users",
    "/files/..%c0%afusers", "/files/uplot.LICENSE", "/files/console.css/", "/files/%2e%2e%2ffiles%2fconsole.css",
    "/files/./console.css", "/../etc/passwd", "//etc/passwd", "/templates/base.html", "/files/CONSOLE.css",
    "/files/con%73ole.css/..", "file:///etc/passwd", "http://127.0.0.1/files/console.css", "*"]

# Where a log-in leads to afterwards: of these, nowhere but to the first page.
ELSEWHERE = [
    "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example", "https://evil.example/",
    "///evil.example", "/%0d%0aLocation: https://evil.example", "/echo\r\nSet-Cookie: a=b",
    "/echo%0d%0aSet-Cookie:%20a=b", "javascript:alert(1)", "/\tevil.example", "\t//evil.example", "/.evil.example",
    "/%2fevil.example", "/..//evil.example", "/login", "/logout", "/change/thing", "/api/thing", "/files/console.css",
    "@evil.example", ".evil.example", "/echo/../..//evil.example", "/echo#@evil", "/echo?q=%", "/echo?q=a\r\nb", "",
    "echo", "data:text/html,x", "/\u2044evil.example", "/echo?" + "q" * 9000]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with Console(tmp_path_factory.mktemp("console"),
                 check=lambda user, password: user is not None and password == PASSWORD, hurry=10_000) as made:
        yield made


@pytest.fixture(scope="module")
def cookie(console: Console) -> str:
    return console.log_in()


def has_all_fields(head: str) -> None:
    lines = head.split("\r\n")
    for name, value in SECURITY:
        assert lines.count(f"{name}: {value}") == 1, head


def test_every_answer_has_the_fields_that_keep_a_browser_safe(console: Console, cookie: str) -> None:
    own = f"Host: x\r\nCookie: {COOKIE}={cookie}\r\nConnection: close\r\n\r\n"
    seen = set()
    for line in ("GET /", "GET /login", "GET /nothing", "GET /broken", "BREW /", "POST /echo", "GET /change/thing",
                 "HEAD /echo", "GET /files/console.css", "GET /files/nothing", "GET /api/thing", "GET /api/nothing",
                 "GET /%zz", "GET /%00",
                 "GET /echo?q", "OPTIONS /", "TRACE /", "CONNECT x:25", "GET /api/openapi.json", "DELETE /api/thing"):
        for rest in (own, own.replace(cookie, "x")):
            head, _, body = console.raw(f"{line} HTTP/1.1\r\n{rest}".encode()).decode().partition("\r\n\r\n")
            has_all_fields(head)
            seen.add(head.split()[1])
            assert "no-store" in head or "/files/" in line
            assert "a secret of this program" not in body
            assert "Traceback" not in body
    assert seen == {"200", "303", "400", "401", "404", "405", "500"}
    defects = [values for word, values in console.log.lines if word == "defect"]
    # Said once a minute, with the place.
    assert len(defects) == 1
    assert "a secret of this program" in str(defects[0]["error"])
    assert re.search(r"console_site\.py:[0-9]+ broken", str(defects[0]["trace"]))


@pytest.mark.parametrize("what", REFUSED)
def test_what_readers_could_take_for_two_things_is_refused(console: Console, what: str) -> None:
    sent, status = REFUSED[what]
    answer = console.raw(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, answer[:300]
    has_all_fields(head.decode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not answer.endswith(b"late")
    assert body.startswith(b"<!doctype html>")


def test_a_body_is_not_the_next_request(console: Console) -> None:
    inner = b"GET /api/thing HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + START + b"Connection: close\r\n\r\n"
    answer = console.raw(whole)
    assert re.findall(rb"HTTP/1\.1 ([0-9]+)", answer) == [b"400", b"200"]
    assert b"401" not in answer


@pytest.mark.parametrize("target", TRAVERSALS)
def test_no_path_leads_out_of_the_files(console: Console, cookie: str, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\nConnection: close\r\n\r\n"
    answer = console.raw(request.encode("latin-1")).decode()
    assert answer.split()[1] in ("400", "404"), answer
    assert "root:" not in answer
    assert "scrypt$" not in answer


@pytest.mark.parametrize("host", [
    "evil.example", "x:99999999", "a b", "<script>", "x\"y", "x/y", "x?y", "a,b", "[::1", "x" * 300, "\xff", "u@x", ""])
def test_the_host_that_a_client_names_is_not_believed(console: Console, host: str) -> None:
    answer = console.raw(f"GET /echo HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: evil.example\r\n"
                         "Connection: close\r\n\r\n".encode("latin-1")).decode()
    assert answer.split()[1] in ("303", "400"), answer
    assert "evil.example" not in answer
    assert "<script>" not in answer


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_log_in_leads_to_our_own_pages_alone(console: Console, target: str) -> None:
    text = console.ask("GET", f"/login?{urlencode({'next': target})}")[2]
    assert '<input type="hidden" name="next" value="/">' in text or 'value="/echo"' in text
    # (Otto: of many sessions of one user the first ones end.)
    status, fields, _ = console.ask("POST", "/login", {"name": "otto", "password": PASSWORD, "next": target})
    assert status == 303
    assert fields["Location"] in ("/", "/echo")
    assert str(fields["Set-Cookie"]).startswith(f"{COOKIE}=")
    assert [one.partition("=")[0] for one in fields.get_all("Set-Cookie", [])] == [COOKIE, "mxallowd-device"]


@given(st.text() | st.text("/\\.%:?#@&=+;\r\n\t\0 aA0e", max_size=30).map(lambda text: f"/echo{text}"))
def test_any_text_leads_to_our_own_pages_or_to_the_first_one(target: str) -> None:
    found = own_target(target, frozenset({"/", "/echo"}))
    assert re.fullmatch(r"/(echo)?(\?[A-Za-z0-9._~%&=+-]+)?", found)
    assert own_target(found, frozenset({"/", "/echo"})) == found


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=40)
@given(st.text(max_size=300), st.text(max_size=100))
def test_what_a_change_says_splits_no_answer(console: Console, cookie: str, say: str, back: str) -> None:
    form = {"csrf": console.csrf(cookie), "say": say + "\r\nX-Split: a\r\n\r\n<script>",
            "back": back + "\r\nX-Split: a"}
    form = {name: value.encode("utf-8", "replace").decode() for name, value in form.items()}
    status, fields, text = console.ask("POST", "/change/thing", form, cookie)
    assert (status, text) == (303, "")
    assert fields["Location"] in ("/", "/echo")
    assert "X-Split" not in fields
    _, fields, text = console.ask("GET", "/", cookie=cookie)
    assert "X-Split" not in fields
    assert "<script>" not in text
    assert "X-Split: a" in text


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(st.binary(max_size=400))
def test_no_bytes_of_a_request_are_an_error_of_ours(console: Console, data: bytes) -> None:
    for sent in (data + b"\r\n\r\n", b"GET /" + data.replace(b"\n", b"") + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                 POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data):
        before = len(console.log.lines)
        answer = console.raw(sent, half_close=True)
        assert not answer or answer.split()[1] != b"500"
        assert "defect" not in [word for word, _ in console.log.lines[before:]]


@pytest.mark.parametrize(("body", "status"), [
    (b"name=a&name=b", 400), (b"name=%ff&password=b", 400),
    (b"&".join(b"f%d=" % one for one in range(MOST_FIELDS + 1)), 400),
    (b"a" * MOST_BYTES, 400), (b"", 400), (b"name&password", 400), (b"=", 400), (b"name=%zz&password=%", 403)])
def test_a_form_is_read_strictly(console: Console, body: bytes, status: int) -> None:
    answer = console.raw(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert int(answer.split()[1]) == status


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/json", "x"])
def test_only_a_form_is_a_form(console: Console, cookie: str, kind: str) -> None:
    body = urlencode({"csrf": console.csrf(cookie)})
    answer = console.raw(f"POST /change/thing HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\nConnection: close\r\n"
                         f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    assert int(answer.split()[1]) == 415
    assert "changed" not in [word for word, values in console.log.lines if values.get("said") == kind]


def test_a_path_takes_its_methods_and_says_so(console: Console, cookie: str) -> None:
    for path, methods in (("/", "GET, HEAD"), ("/change/thing", "POST"), ("/login", "GET, HEAD, POST"),
                          ("/logout", "POST"), ("/files/console.css", "GET, HEAD"), ("/api/thing", "GET, HEAD")):
        for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - set(methods.split(", ")):
            status, fields, text = console.ask(method, path, cookie=cookie)
            assert (status, fields["Allow"]) == (405, methods)
            assert text.startswith('{"error": ' if path.startswith("/api/") else "<!doctype html>")


def test_head_is_get_without_the_body(console: Console, cookie: str) -> None:
    for path in ("/", "/echo?q=a", "/nothing", "/login", "/files/console.css", "/files/x", "/api/thing", "/api/none"):
        for known in (cookie, ""):
            status, fields, text = console.ask("GET", path, cookie=known)
            assert console.ask("HEAD", path, cookie=known)[0] == status
            head = console.ask("HEAD", path, cookie=known)
            assert (head[0], head[1].items(), head[2]) == (status, fields.items(), ""), path
            assert int(fields["Content-Length"]) == len(text.encode())


def test_what_was_asked_for_is_shown_as_text(console: Console, cookie: str) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e\x1b[31m"
    _, _, text = console.ask("GET", f"/echo?q={quote(hostile)}", cookie=cookie)
    assert "[&lt;img src=x onerror=alert(1)&gt;\\u202e\\x1b[31m]" in text
    for path in (f"/{quote(hostile)}", f"/files/{quote(hostile)}"):
        status, _, text = console.ask("GET", path, cookie=cookie)
        assert status == 404
        assert not set("\u202e\x1b") & set(text)
        assert "<img" not in text
    assert "<img" not in console.ask("POST", "/login", {"name": hostile, "password": "b"})[2]
