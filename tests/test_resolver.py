"""The resolver against a real name server process on the loopback interface, in the lab's gateway."""
import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pycares
import pytest

from lab.hosts import Lab
from lab.namespaces import visit
from mxallowd.dns.resolver import AAAA, MX, PTR, TXT, A, LookupFailed, Records, Resolver
from mxallowd.settings.options import BY_NAME
from tests.name_server_process import NameServerProcess

SERVER = "127.0.0.1:5353"
NAME = "mail.example.org"


def run(lab: Lab, story: Callable[[Resolver], Awaitable[None]], *servers: str) -> None:
    """The story in the gateway: c-ares makes its sockets where the thread is."""
    async def whole() -> None:
        resolver = Resolver(asyncio.get_running_loop(), servers or [SERVER])
        try:
            await story(resolver)
        finally:
            resolver.close()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    with visit(lab.gateway.name):
        asyncio.run(whole())


def asked(names: NameServerProcess, least: int) -> list[str]:
    """The questions; the thread that reads them may lag behind their answers."""
    deadline = time.monotonic() + 2
    while len(names.questions) < least and time.monotonic() < deadline:
        time.sleep(0.01)
    return names.questions


def test_each_kind_of_record(lab: Lab) -> None:
    async def story(resolver: Resolver) -> None:
        assert sorted(await resolver.ask(NAME, A)) == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.ask(NAME, AAAA) == ["2001:db8::1"]
        assert await resolver.ask("1.2.0.192.in-addr.arpa", PTR) == [NAME]
        # Nothing there is an answer, and so is a name that is there with other records.
        assert await resolver.ask("nobody.example.org", A) == []
        assert await resolver.ask(NAME, PTR) == []

    records = [f"{NAME} A 192.0.2.1", f"{NAME} A 192.0.2.2", f"{NAME} AAAA 2001:db8::1",
               f"1.2.0.192.in-addr.arpa PTR {NAME}."]
    with NameServerProcess(lab.gateway, records):
        run(lab, story)


def test_texts_and_mail_exchangers_with_their_time_to_live(lab: Lab) -> None:
    long = "v=spf1 " + "|".join(f"{part}{'x' * 200} " for part in range(20)).strip()

    async def story(resolver: Resolver) -> None:
        # The strings of a record are joined (RFC 7208, 3.3); a long one comes over TCP.
        assert await resolver.records(NAME, TXT) == Records([long.replace("|", "")], 60)
        assert await resolver.records("alias.example.org", MX) == Records(["mx.example.net"], 60)
        assert await resolver.records("nobody.example.org", TXT) == Records([], None)

    records = [f"{NAME} TXT {long}", f"alias.example.org CNAME {NAME}", f"{NAME} MX 10 mx.example.net"]
    with NameServerProcess(lab.gateway, records):
        run(lab, story)


@pytest.mark.parametrize("name", ["a" * 64 + ".example.org", "a..example.org", ".".join(["abc"] * 70)])
def test_a_name_that_cannot_be_asked_is_answered_at_once(lab: Lab, name: str) -> None:
    async def story(resolver: Resolver) -> None:
        started = time.monotonic()
        with pytest.raises(LookupFailed) as failed:
            await resolver.ask(name, A)
        assert not failed.value.timed_out
        assert time.monotonic() - started < 0.5
    run(lab, story)


def test_silence_ends_after_two_tries(lab: Lab) -> None:
    async def story(resolver: Resolver) -> None:
        started = time.monotonic()
        with pytest.raises(LookupFailed) as failed:
            await resolver.ask(NAME, A)
        assert failed.value.timed_out
        assert 2.5 < time.monotonic() - started < 6.5
    with NameServerProcess(lab.gateway, [f"{NAME} FAULT silent"]) as names:
        run(lab, story)
        assert asked(names, 2) == [f"{NAME} A"] * 2


def test_other_servers_take_over_the_questions_under_way(lab: Lab) -> None:
    async def story(resolver: Resolver) -> None:
        question = asyncio.create_task(resolver.ask(NAME, A))
        await asyncio.sleep(0.2)
        resolver.reload(["127.0.0.1:5354"])
        assert await asyncio.wait_for(question, 1) == ["192.0.2.2"]

    with NameServerProcess(lab.gateway, [f"{NAME} FAULT silent"]), \
            NameServerProcess(lab.gateway, [f"{NAME} A 192.0.2.2"], port=5354) as second:
        run(lab, story)
        assert asked(second, 1) == [f"{NAME} A"]


def test_a_reload_forgets_what_was_answered(lab: Lab) -> None:
    async def story(resolver: Resolver) -> None:
        for _ in range(3):
            assert await resolver.ask(NAME, A) == ["192.0.2.1"]
        resolver.reload([SERVER])
        assert await resolver.ask(NAME, A) == ["192.0.2.1"]

    with NameServerProcess(lab.gateway, [f"{NAME} A 192.0.2.1"]) as names:
        run(lab, story)
        assert asked(names, 2) == [f"{NAME} A"] * 2


def test_another_resolv_conf_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    monkeypatch.setattr("mxallowd.dns.resolver.RESOLV_CONF", conf)
    reloads: list[Sequence[str]] = []

    async def whole() -> None:
        one = Resolver(asyncio.get_running_loop(), [SERVER])
        monkeypatch.setattr(one, "reload", reloads.append)
        # It need not be there; then it comes, is written anew, is replaced, and goes.
        one.tick()
        assert not reloads
        changes: list[Callable[[], object]] = [
            partial(conf.write_text, "nameserver 192.0.2.1\n"), partial(os.utime, conf, (1, 1)),
            partial(replace, conf), conf.unlink]
        for number, change in enumerate(changes, 1):
            change()
            one.tick()
            one.tick()
            assert reloads == [[SERVER]] * number
        one.close()

    def replace(path: Path) -> None:
        other = path.with_name("new")
        other.write_text("nameserver 192.0.2.2\n")
        # Of the same age: then it is another file all the same.
        os.utime(other, (1, 1))
        other.rename(path)

    asyncio.run(whole())


def test_the_channel_gets_no_text_that_pycares_frees_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lookups` and `resolvconf_path` are temporaries of its own; AddressSanitizer sees them read afterwards."""
    given: list[set[str]] = []
    channel = pycares.Channel

    def made(**options: Any) -> pycares.Channel:
        given.append(set(options))
        return channel(**options)

    async def whole() -> None:
        resolver = Resolver(asyncio.get_running_loop(), [SERVER])
        resolver.reload([])
        resolver.close()

    monkeypatch.setattr(pycares, "Channel", made)
    asyncio.run(whole())
    assert len(given) == 2
    assert not any(options & {"lookups", "resolvconf_path"} for options in given)


def test_a_link_local_name_server(lab: Lab) -> None:
    """As the option gives it, with the zone of the interface behind the port."""
    ip = ["ip", "-n", lab.gateway.name]
    subprocess.run([*ip, "link", "add", "dns0", "type", "veth", "peer", "name", "dns1"], check=True)
    for one in ("dns0", "dns1"):
        subprocess.run([*ip, "link", "set", one, "up"], check=True)
    subprocess.run([*ip, "address", "add", "fe80::53/64", "dev", "dns0", "nodad"], check=True)

    async def story(resolver: Resolver) -> None:
        assert await resolver.ask(NAME, A) == ["192.0.2.1"]

    with NameServerProcess(lab.gateway, [f"{NAME} A 192.0.2.1"], address="fe80::53%dns0"):
        run(lab, story, str(BY_NAME["dns-server"].convert("[fe80::53%dns0]:5353")))


@pytest.mark.parametrize("text", ["[::ffff:127.0.0.1]:5353", "127.0.0.1:5353"])
def test_a_mapped_name_server(lab: Lab, text: str) -> None:
    async def story(resolver: Resolver) -> None:
        assert await resolver.ask(NAME, A) == ["192.0.2.1"]

    with NameServerProcess(lab.gateway, [f"{NAME} A 192.0.2.1"]):
        run(lab, story, str(BY_NAME["dns-server"].convert(text)))


def test_aliases_and_underscores(lab: Lab) -> None:
    """What an alias leads to is told; names with underscores are asked as they are."""
    async def story(resolver: Resolver) -> None:
        told: list[str] = []
        assert await resolver.ask("a_b.example.org", A, told.append) == ["192.0.2.1"]
        assert told == ["b_c.example.net", NAME]
        assert await resolver.ask("1.2.0.192.in-addr.arpa", PTR) == ["_a_b_.example.org"]

    records = ["a_b.example.org CNAME B_c.example.net", f"b_c.example.net CNAME {NAME}", f"{NAME} A 192.0.2.1",
               "1.2.0.192.in-addr.arpa PTR _a_b_.example.org."]
    with NameServerProcess(lab.gateway, records):
        run(lab, story)


def test_close_ends_what_is_under_way(lab: Lab) -> None:
    async def story(resolver: Resolver) -> None:
        questions = [asyncio.create_task(resolver.ask(f"n{number}.example.org", A)) for number in range(50)]
        await asyncio.sleep(0.1)
        resolver.close()
        for one in await asyncio.gather(*questions, return_exceptions=True):
            assert isinstance(one, LookupFailed)

    async def whole() -> None:
        await story(Resolver(asyncio.get_running_loop(), [SERVER]))

    with NameServerProcess(lab.gateway, [f"n{number}.example.org FAULT silent" for number in range(50)]), \
            visit(lab.gateway.name):
        asyncio.run(whole())
