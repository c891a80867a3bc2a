"""SPF records laid flat: what pyspf says of random ones, what is left out, bounds, and how long the loop is held."""
import asyncio
import gc
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mxallowd.trust import flatten as module
from mxallowd.trust.flatten import Flattened, flatten
from mxallowd.trust.ranges import Ranges
from tests.spf_suite import TTL_S, Asked, Zone, judge, zone_of

HOSTS = [f"192.0.2.{last}" for last in (1, 2, 5, 9, 130)] + ["2001:db8::1", "2001:db8:1::1"]
PLAIN = ["ip4:192.0.2.1", "ip4:192.0.2.0/29", "ip4:192.0.2.0/24", "ip6:2001:db8::/32", "a:two.example",
         "a:two.example/30", "a:void.example", "mx:three.example", "mx:three.example/25//48", "a", "mx:void.example",
         "all", "exists:two.example", "exists:void.example"]
ADDRESSES: dict[str, list[Any]] = {
    "two.example": [{"A": "192.0.2.2"}, {"A": "192.0.2.9"}, {"AAAA": "2001:db8:1::1"}],
    "three.example": [{"MX": [10, "two.example"]}, {"MX": [20, "one.example"]}], "one.example": [{"A": "192.0.2.130"}],
    "d0.example": [{"A": "192.0.2.5"}], "inner.example": [{"A": "172.16.3.4"}]}
UNSURE = "exists:%{i}.example"
Record = list[str]


def zone(records: list[Record]) -> Zone:
    """Record number N is that of dN.example."""
    written = {name: list(data) for name, data in ADDRESSES.items()}
    for number, terms in enumerate(records):
        written.setdefault(f"d{number}.example", []).append({"TXT": " ".join(["v=spf1", *terms])})
    return zone_of(written)


def laid_flat(records: list[Record]) -> Flattened:
    return asyncio.run(flatten("d0.example", Asked(zone(records)).records))


def passing(found: Flattened) -> set[str]:
    return {host for host in HOSTS if any(ip_address(host) in network for network in found.networks)}


def lookups(records: list[Record], number: int = 0) -> int:
    """The most terms that ask; pyspf counts a redirect before it is followed, so the limit is a matter of its own."""
    total = 0
    for term in records[number]:
        if "include:" in term or "redirect=" in term:
            total += 1 + lookups(records, int(term.partition(".example")[0][-1]))
        else:
            total += "ip" not in term and "all" not in term
    return total


@st.composite
def random_records(draw: st.DrawFn, more: tuple[str, ...] = ()) -> list[Record]:
    """Three records, of which each may lead to those behind it."""
    records = []
    for number in range(3):
        leads = [f"include:d{other}.example" for other in range(number + 1, 3)]
        terms = draw(st.lists(st.tuples(st.sampled_from(["", "-", "~", "?", "+"]),
                                        st.sampled_from([*PLAIN, *leads, *leads, *more])).map("".join), max_size=4))
        if number < 2 and draw(st.booleans()):
            terms.append(f"redirect=d{number + 1}.example")
        records.append(terms)
    assume(lookups(records) <= module.MAX_LOOKUPS)
    return records


@given(records=random_records())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_pyspf_says_the_same_of_random_records(records: list[Record]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        expected = {host for host in HOSTS if judge(zone(records), "d0.example", host, patch) == "pass"}
    found = laid_flat(records)
    if any("names without an answer" in one for one in found.wrong):
        # Questions count for all addresses, also for those that an include has refused before: so it may be less.
        assert passing(found) <= expected
    else:
        assert passing(found) == expected


def told(records: list[Record]) -> Iterator[list[Record]]:
    """The records with each directive that depends on who asks matching, and not."""
    places = [(row, at) for row, terms in enumerate(records) for at, term in enumerate(terms) if UNSURE in term]
    for matches in product([True, False], repeat=len(places)):
        made = [list(terms) for terms in records]
        for (row, at), match in zip(places, matches, strict=True):
            # No question, so that none without an answer counts; but one lookup less.
            qualifier = made[row][at].removesuffix(UNSURE)
            made[row][at] = qualifier + ("all" if match else "ip4:203.0.113.1")
        yield made


@given(records=random_records((UNSURE, UNSURE)))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_trusted_is_who_passes_whatever_was_left_out_says(records: list[Record]) -> None:
    assume(sum(UNSURE in term for terms in records for term in terms) in (1, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        expected = [{host for host in HOSTS if judge(zone(made), "d0.example", host, patch) == "pass"}
                    for made in told(records)]
    found, sure = laid_flat(records), set.intersection(*expected)
    assert passing(found) <= sure
    assert passing(found) == sure or any("names without an answer" in one for one in found.wrong)


def test_which_domains_gave_a_network() -> None:
    # What -ip4 refuses within d1 comes in by the record of d0 alone, and what d2 repeats is d1's.
    found = laid_flat([["include:d1.example", "?include:d3.example", "ip4:192.0.2.0/30", "ip6:2001:db8::/32"],
                       ["-ip4:192.0.2.1", "ip4:192.0.2.0/31", "redirect=d2.example"],
                       ["ip4:192.0.2.0/24"], ["ip4:192.0.2.128/32"]])
    by = [path for count, path in found.chains for _ in range(count)]
    given = {host: by[at] for host in HOSTS for at, network in enumerate(found.networks) if ip_address(host) in network}
    assert given == {"192.0.2.1": "", "192.0.2.2": "d1.example, d2.example", "192.0.2.5": "d1.example, d2.example",
                     "192.0.2.9": "d1.example, d2.example", "192.0.2.130": "d1.example, d2.example",
                     "2001:db8::1": "", "2001:db8:1::1": ""}
    assert str(found.networks[0]) == "192.0.2.0/32"
    assert found.chains[0] == (1, "d1.example")
    name = f"{'x' * 60}.{'y' * 60}.{'z' * 60}.{'w' * 20}.example"
    long = asyncio.run(flatten("d0.example", Asked(zone([[f"include:{name}"]]) | {
        name: [("TXT", "v=spf1 ip4:192.0.2.1")]}).records))
    assert len(long.chains[0][1]) == module.LONGEST_CHAIN


def test_what_is_left_out_is_named_with_its_domain() -> None:
    found = laid_flat([["ptr", "-exists:%{i}.x.example", "include:%{d}.y", "ip4:192.0.2.1", "include:d1.example"],
                       ["ptr:z.example", "redirect=%{o}.x"]])
    assert found.left_out == ["d0.example: ptr", "d0.example: -exists:%{i}.x.example", "d0.example: include:%{d}.y",
                              "d1.example: ptr:z.example", "d1.example: redirect=%{o}.x"]
    # What -exists may have refused is not trusted.
    assert not found.networks


def test_what_is_wrong_is_named_and_the_rest_stays() -> None:
    found = laid_flat([["ip4:192.0.2.1", "include:d1.example", "ip4:192.0.2.2"], ["ip4:192.0.2.9", "moo"]])
    assert [str(one) for one in found.networks] == ["192.0.2.1/32"]
    assert found.wrong == ['d1.example has a term that is none: "moo"']
    assert not found.unanswered
    assert found.ttl_s == TTL_S


def test_a_name_without_an_answer_is_told_apart() -> None:
    found = laid_flat([["ip4:192.0.2.1", "include:error.example"]])
    assert [str(one) for one in found.networks] == ["192.0.2.1/32"]
    assert (found.unanswered, found.wrong) == (True, ["error.example: Timeout"])


@pytest.mark.parametrize(("texts", "reason"), [
    ([], "d0.example has no SPF record"), (["v=spf10 all"], "d0.example has no SPF record"),
    (["v=spf1 all", "V=SPF1"], "d0.example has 2 SPF records")])
def test_none_and_too_many_records(texts: list[str], reason: str) -> None:
    found = asyncio.run(flatten("d0.example", Asked({"d0.example": [("TXT", text) for text in texts]}).records))
    assert (found.networks, found.wrong) == ([], [reason])


def test_a_record_that_includes_itself_ends() -> None:
    asked = Asked(zone([["include:d0.example", "ip4:192.0.2.1"]]))
    found = asyncio.run(flatten("d0.example", asked.records))
    assert found.wrong == ["d0.example asks more than 10 questions"]
    assert (found.networks, asked.questions) == ([], [("d0.example", "TXT")])


def test_a_mistake_in_an_included_record_ends_it_there() -> None:
    for wrong in ("exists:%{s" + "1" * 5000 + "}.x.example", "a:." + "x" * 5000 + "!", "exists:%{s0}.x.example"):
        found = laid_flat([["ip4:192.0.2.0/24", "include:d1.example", "ip4:198.51.100.0/24"], [wrong]])
        assert list(map(str, found.networks)) == ["192.0.2.0/24"]
        assert [text.partition(" has ")[0] for text in found.wrong] == ["d1.example"]


def test_what_is_said_of_long_texts_is_short() -> None:
    name = "x" * 800 + ".example"
    for term in (f"exists:%{{i}}.{name}", f"redirect=%{{i}}.{name}", f"include:{name}", f"redirect={name}"):
        found = laid_flat([["ip4:192.0.2.0/24", term]])
        assert list(map(str, found.networks)) == ["192.0.2.0/24"]
        [text] = [*found.left_out, *found.wrong]
        assert 256 < len(text) < 400
        assert "characters)" in text


def test_addresses_of_no_host_of_the_internet_are_left_out() -> None:
    found = laid_flat([["ip4:10.0.0.0/8", "ip4:127.0.0.1", "ip4:192.168.0.0/15", "ip6:fd00::/8", "ip6:::1",
                        "ip4:192.0.2.1", "a:inner.example"]])
    assert [str(one) for one in found.networks] == ["192.0.2.1/32", "192.169.0.0/16"]
    assert found.wrong == ["d0.example names addresses of no host of the Internet: ip4:10.0.0.0/8"]
    everything = laid_flat([["+all"]]).networks
    assert not any(ip_address(one) in network for network in everything for one in ("10.0.0.1", "127.0.0.1", "fe80::1"))


def test_mapped_addresses_are_never_trusted_by_ip6() -> None:
    found = laid_flat([["ip6:::/0"]])
    assert not any(ip_network("::ffff:192.0.2.1/128").subnet_of(one) for one in found.networks)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [
    "a\udcff.example", "a\\255.example", "a\n.example", ".", "a..example", "x" * 64 + ".example"])
def test_a_mail_exchanger_that_cannot_be_asked_for(name: str) -> None:
    asked = Asked({"d0.example": [("TXT", "v=spf1 mx ip4:192.0.2.1"), ("MX", [10, name])]})
    found = asyncio.run(flatten("d0.example", asked.records))
    assert [str(one) for one in found.networks] == ["192.0.2.1/32"]
    assert {kind for _, kind in asked.questions} == {"TXT", "MX"}


def test_terminal_controls_do_not_come_through() -> None:
    found = laid_flat([["ip4:192.0.2.1", "a:\x1b[2J.example"], []])
    assert "\x1b" not in "".join(found.wrong)
    assert found.wrong


def watched(records: list[Record]) -> tuple[Flattened, float]:
    """What comes of the records, and the longest turn on the main loop, in seconds."""
    longest = 0.0

    async def work() -> Flattened:
        nonlocal longest
        task = asyncio.ensure_future(flatten("d0.example", Asked(zone(records)).records))
        while not task.done():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
        return task.result()

    # As in the daemon, where no collection of garbage walks through all that is there from the start.
    gc.freeze()
    try:
        return asyncio.run(work()), longest
    finally:
        gc.unfreeze()


def test_a_hostile_record_never_holds_the_loop() -> None:
    """A record as large as a message of the DNS can be, and more of them than are counted."""
    many = [f"ip4:{11 + number % 50}.{number // 50 % 250}.{number // 12_500}.1" for number in range(3900)]
    leads = [f"include:d{number}.example" for number in range(1, 10)]
    records = [leads, *([f"-{one}" for one in many] for _ in range(9))]
    records[1] = many
    found, longest = watched(records)
    assert any("more than 20000 networks" in one for one in found.wrong)
    assert longest < 0.02


def test_one_range_that_decides_thousands_never_holds_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [["?exists:%{i}.x.example", *(f"ip4:9.{number >> 7}.{number % 128 * 2}.1" for number in range(low, high))]
               for low, high in ((0, 4400), (4400, 8800))]
    monkeypatch.setattr(gc, "freeze", gc.disable)  # 80,000 networks are more than any domain is believed
    monkeypatch.setattr(gc, "unfreeze", gc.enable)
    found, longest = watched([["-include:d1.example", "-include:d2.example", "+all"], *records])
    assert len(found.networks) > 50_000
    assert longest < 0.015


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40)), max_size=30))
def test_ranges_are_sets(steps: list[tuple[bool, int, int]]) -> None:
    ranges, expected = Ranges(), set[int]()
    for adds, one, other in steps:
        first, last = min(one, other), max(one, other)
        whole = set(range(first, last + 1))
        parts = [number for begin, end in ranges.parts(first, last) for number in range(begin, end + 1)]
        assert parts == sorted(expected & whole)
        if adds:
            ranges.add(first, last)
            expected |= whole
        else:
            cut = [number for begin, end in ranges.cut(first, last) for number in range(begin, end + 1)]
            assert cut == parts
            expected -= whole
        assert [number for begin, end in ranges for number in range(begin, end + 1)] == sorted(expected)
        assert all(later[0] > earlier[1] + 1 for earlier, later in zip(ranges, list(ranges)[1:], strict=False))
        assert ranges.addresses() == len(expected)
        assert [number in ranges for number in range(42)] == [number in expected for number in range(42)]
