"""Log-in: who gets a session, at which rate, and what the log and the browser are told of it."""
import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxallowd.console import attempts
from mxallowd.console.attempts import AGAIN_S, AT_ONCE, COUNTED, KNOWN, Attempts, Busy
from mxallowd.console.users import LARGEST, User
from tests.console_site import COOKIE, OTHER, PASSWORD, Console, token_in

WRONG = {"name": "anna", "password": "not this one"}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with Console(tmp_path) as made:
        yield made


def test_a_log_in_a_page_a_change_and_a_log_out(console: Console) -> None:
    status, fields, _ = console.ask("GET", "/echo?q=a+b")
    assert (status, fields["Location"]) == (303, "/login?next=%2Fecho%3Fq%3Da%2Bb")
    assert 'value="/echo?q=a+b"' in console.ask("GET", fields["Location"])[2]
    status, fields, _ = console.ask("POST", "/login", {"name": "anna", "password": PASSWORD, "next": "/echo?q=a+b"})
    assert (status, fields["Location"]) == (303, "/echo?q=a+b")
    cookie = token_in(fields)
    assert fields["Set-Cookie"] == f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict"
    assert "[a b]" in console.ask("GET", "/echo?q=a+b", cookie=cookie)[2]
    assert console.ask("GET", "/login?next=/echo", cookie=cookie)[1]["Location"] == "/echo"
    csrf = console.csrf(cookie)
    form = {"csrf": csrf, "say": "it is <done>", "back": "/echo"}
    status, fields, _ = console.ask("POST", "/change/thing", form, cookie)
    assert (status, fields["Location"]) == (303, "/echo")
    # HEAD leaves it for the page; the next page shows it once.
    assert console.ask("HEAD", "/echo", cookie=cookie)[0] == 200
    assert "it is &lt;done&gt;" in console.ask("GET", "/echo", cookie=cookie)[2]
    assert "it is &lt;done&gt;" not in console.ask("GET", "/echo", cookie=cookie)[2]
    status, fields, _ = console.ask("POST", "/logout", {"csrf": csrf}, cookie)
    assert (status, fields["Location"]) == (303, "/login")
    assert fields["Set-Cookie"] == f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    assert console.ask("GET", "/", cookie=cookie)[0] == 303
    assert console.log.lines == [
        ("logged-in", {"client": "127.0.0.1", "user": "anna", "role": "change"}),
        ("changed", {"client": "127.0.0.1", "user": "anna", "change": "/change/thing", "what": "",
                     "said": "it is <done>"}),
        ("logged-out", {"client": "127.0.0.1", "user": "anna"})]


def test_who_may_look_only_changes_nothing(console: Console) -> None:
    cookie = console.log_in("otto", OTHER)
    status, _, text = console.ask("POST", "/change/thing", {"csrf": console.csrf(cookie)}, cookie)
    assert status == 403
    assert "The user otto may look, and change nothing" in text
    assert console.log.words() == ["logged-in"]


@pytest.mark.parametrize(("form", "status"), [
    (WRONG, 403), ({"name": "nobody", "password": PASSWORD}, 403), ({"name": "otto", "password": PASSWORD}, 403),
    ({"name": "anna"}, 400), ({"password": PASSWORD}, 400), ({}, 400), ({"name": "a" * 33, "password": "b"}, 403),
    ({"name": "anna", "password": "b" * 1025}, 403), ({"name": "anna\r\nSet-Cookie: a=b", "password": "b"}, 403)])
def test_what_is_no_log_in(console: Console, form: dict[str, str], status: int) -> None:
    found, fields, text = console.ask("POST", "/login", form)
    assert found == status
    assert "Set-Cookie" not in fields
    assert '<p class="fault" role="alert">' in text
    assert PASSWORD not in text
    assert len(console.sessions) == 0


def test_a_failed_one_does_not_tell_which_part_was_wrong(console: Console) -> None:
    names = ("anna", "nobody")
    texts = {console.ask("POST", "/login", {**WRONG, "name": name})[2].replace(name, "") for name in names}
    assert len(texts) == 1
    assert console.log.lines == [("log-in-failed", {"client": "127.0.0.1", "user": name}) for name in names]


@pytest.mark.parametrize(("text", "said"), [
    (None, "cannot read its users"), ("x" * (LARGEST + 1), "cannot read"), ("# nobody\n", "has no user who could")])
def test_where_nobody_can_log_in_no_attempt_counts(
    console: Console, text: str | None, said: str,
) -> None:
    before = console.file.read_text(encoding="ascii")
    console.file.unlink() if text is None else console.file.write_text(text, encoding="ascii")
    for _ in range(AT_ONCE + 1):
        status, _, page = console.ask("POST", "/login", {"name": "anna", "password": PASSWORD})
        assert (status, said in page, str(console.file) in page) == (503, True, False)
    assert said in console.ask("GET", "/login")[2]
    assert console.log.words() == []
    console.file.write_text(before, encoding="ascii")
    assert console.log_in()


@pytest.mark.alone
def test_known_and_unknown_names_take_equally_long(tmp_path: Path) -> None:
    with Console(tmp_path) as console:
        taken: dict[str, list[float]] = {"anna": [], "nobody": []}
        for number in range(14):
            # From another address each time: the rate is another matter.
            name = ("anna", "nobody")[number % 2]
            began = time.perf_counter()
            status = console.ask("POST", "/login", {**WRONG, "name": name}, source=f"127.1.0.{number + 1}")[0]
            taken[name].append(time.perf_counter() - began)
            assert status == 403
            time.sleep(0.3)
    known, unknown = (statistics.median(times) for times in taken.values())
    assert 0.7 < known / unknown < 1.3, taken


def test_brute_force_is_slow_and_who_was_in_before_gets_in(tmp_path: Path) -> None:
    checked: list[str] = []

    def check(user: User | None, password: str) -> bool:
        checked.append(password)
        return user is not None and password == PASSWORD

    with Console(tmp_path, check=check) as console:
        cookie = console.log_in(source="127.2.0.1")
        found = [console.ask("POST", "/login", WRONG, source="127.0.0.9") for _ in range(20)]
        assert [status for status, _, _ in found] == [403] * AT_ONCE + [429] * (20 - AT_ONCE)
        assert found[-1][1]["Retry-After"] == f"{AGAIN_S:.0f}"
        assert "too many attempts" in found[-1][2]
        # From many addresses: all others together have a share.
        spread = [console.ask("POST", "/login", WRONG, source=f"127.3.0.{number}")[0] for number in range(1, 60)]
        assert spread.count(403) <= 10
        assert spread[-1] == 429
        assert console.ask("POST", "/login", {"name": "anna", "password": PASSWORD}, source="127.4.0.1")[0] == 429
        # The rightful one: his session goes on, and from where he was before he gets in again.
        assert console.ask("GET", "/", cookie=cookie)[0] == 200
        again = console.log_in(source="127.2.0.1")
        assert console.ask("GET", "/", cookie=again)[0] == 200
        assert len(checked) <= AT_ONCE + 10 + 2
        # What was refused is one line a minute.
        assert console.log.words().count("log-in-refused") == 1
        assert console.log.words().count("log-in-failed") == len(checked) - 2


async def _all(attempts: Attempts, addresses: list[str]) -> list[object]:
    return await asyncio.gather(*(attempts.good(one, None, "x") for one in addresses), return_exceptions=True)


def test_few_wait_for_a_check_and_one_is_made_at_a_time() -> None:
    running, most, goes_on = [0], [0], threading.Event()

    def check(_: User | None, password: str) -> bool:
        running[0] += 1
        most[0] = max(most[0], running[0])
        assert goes_on.wait(5)
        running[0] -= 1
        return password == "good"

    async def run() -> None:
        counted = Attempts(check)
        goes_on.set()
        for number in range(8):
            assert await counted.good(f"192.0.2.{number}", None, "good")
        goes_on.clear()
        asyncio.get_running_loop().call_later(0.2, goes_on.set)
        found = await asyncio.gather(
            *(counted.good(f"198.51.100.{number}", None, "x") for number in range(20)),
            *(counted.good(f"192.0.2.{number}", None, "good") for number in range(8)), return_exceptions=True)
        others, known = found[:20], found[20:]
        # Those share ten checks a burst, of which eight are gone.
        assert sum(isinstance(one, Busy) for one in others) == 18
        assert sum(one is True for one in known) == attempts.WAITING[attempts.Standing.ADDRESS] - 2
        counted.close()

    asyncio.run(run())
    assert most == [1]


def test_memory_is_bounded_and_a_network_is_one_client() -> None:
    now = [0.0]

    async def run() -> None:
        counted = Attempts(lambda _, password: password == "good", lambda: now[0])
        for number in range(COUNTED + 10):
            now[0] += 1
            await counted.good(str(number), None, "good")
        assert len(counted._clients) == COUNTED
        assert len(counted._known) == KNOWN
        # All of a /64 is one.
        now[0] += 1000
        found = await _all(counted, [f"2001:db8::{number:x}" for number in range(4)] * 2)
        assert sum(isinstance(one, Busy) for one in found) == 4  # so many may wait
        now[0] += 1
        assert isinstance((await _all(counted, ["2001:db8::ffff", "2001:db8:0:1::1"]))[1], bool)
        counted.close()

    asyncio.run(run())


def test_the_rate_comes_back_with_time() -> None:
    now = [0.0]

    async def run() -> None:
        counted = Attempts(lambda *_: False, lambda: now[0])
        for _ in range(AT_ONCE):
            assert await counted.good("192.0.2.1", None, "x") is False
        for _ in range(3):
            with pytest.raises(Busy):
                await counted.good("192.0.2.1", None, "x")
            now[0] += AGAIN_S
            assert await counted.good("192.0.2.1", None, "x") is False
        counted.close()

    asyncio.run(run())
