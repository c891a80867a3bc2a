"""How many children live, by contact, name and domain, beside a plain count."""
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.sinks import grants
from mxallowd.sinks.grants import MOST_OF_A_DOMAIN, MOST_OF_A_NAME, MOST_OF_A_POOL, Grant, Grants
from tests.strategies import packed


def host(number: int) -> bytes:
    return packed(f"10.0.{number >> 8}.{number & 255}")


def grant(until_us: int = 100, contact: int | None = None, name: str = "mail") -> Grant:
    return Grant(until_us, None if contact is None else host(contact), f"{name}.example.org", "example.org")


def fill(made: Grants, *grants_: Grant, first: int = 1000) -> int:
    """Let children in as long as there is room; how many."""
    for number, one in enumerate(grants_):
        if not made.has_room(one):
            return number
        made.note(host(first + number), one)
    return len(grants_)


def test_the_bounds() -> None:
    assert fill(Grants(31), *(grant(contact=1, name=f"n{number}") for number in range(99))) == 31
    assert fill(Grants(31), *(grant(contact=number) for number in range(99))) == MOST_OF_A_NAME
    assert fill(Grants(31), *(grant(name=f"n{number}") for number in range(500))) == MOST_OF_A_DOMAIN
    assert fill(Grants(0), grant()) == 0


def test_all_together() -> None:
    made = Grants(31)
    before = grants.MOST
    try:
        grants.MOST = 5
        assert fill(made, *(Grant(9, None, f"{number}.example", f"{number}.example") for number in range(9))) == 5
    finally:
        grants.MOST = before


hosts = st.integers(0, 7).map(host)
made_grants = st.builds(
    lambda contact, name, domain, lasts: (contact, f"{name}.{domain}", domain, lasts), st.none() | hosts,
    st.sampled_from("xyz"), st.sampled_from(["a.example", "b.example"]), st.integers(1, 5))


@settings(deadline=None)
@given(st.lists(st.tuples(hosts, made_grants, st.sampled_from(["note", "prolong", "pass"])), max_size=60),
       st.integers(1, 3))
def test_living_children_are_counted(steps: list[tuple[bytes, tuple[bytes, str, str, int], str]], most: int) -> None:
    made, model, now = Grants(most), dict[bytes, Grant](), 0
    for child, (contact, name, domain, lasts), step in steps:
        one = Grant(now + lasts, contact, name, domain)
        if step == "pass":
            now += 1
        made.expire(now)
        model = {each: found for each, found in model.items() if found.until_us > now}
        if step == "note":
            room = all(sum(part in (found.contact, found.name, found.domain) for found in model.values()) < bound
                       for part, bound in ((contact, most), (name, MOST_OF_A_NAME), (domain, MOST_OF_A_DOMAIN)) if part)
            assert made.has_room(one) == room
            if room:
                made.note(child, one)
                model[child] = one
        elif step == "prolong" and child in model:
            made.prolong(child, now + lasts)
            model[child] = model[child]._replace(until_us=max(model[child].until_us, now + lasts))
        assert len(made) == len(model)
        assert all(made.find(each) == found for each, found in model.items())
    made.expire(now + 100)
    assert len(made) == 0
    assert made._counts == {}


def test_a_child_of_a_pool_counts_as_long_as_it_is_listed() -> None:
    """Connections prolong its entry, and nobody tells."""
    until = {host(1): 300}
    made = Grants(31, lambda child: until.get(child, 0))
    made.note(host(1), Grant(100, None, "a.example.org", "example.org", "example.org"))
    made.note(host(2), Grant(100, None, "b.example.org", "example.org", "example.org"))
    made.expire(200)
    assert len(made) == 1
    found = made.find(host(1))
    assert found is not None
    assert found.until_us == 300
    made.expire(300)
    assert len(made) == 0


def test_a_pool_has_room_for_some() -> None:
    made = Grants(31)
    some = [Grant(100, None, f"n{number}.example.org", "example.org", "example.org") for number in range(99)]
    assert fill(made, *some) == MOST_OF_A_POOL
    assert made.has_room(some[0]._replace(pool="", name="other.example.org"))
    made.drop(host(1000))
    assert made.has_room(some[0])
