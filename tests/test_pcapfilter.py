"""Filters that we compile: the forms of pcap-filter(7) that are understood, held against a plain reading of them."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.captures._capture import FILTER_AND, FILTER_ANY, FILTER_OR, FILTER_PORT, MAX_FILTER, select
from mxallowd.captures.filters import compile_filter, destination_port
from tests.strategies import HOSTS, REAL, ipv4
from tests.test_capture import batch, tcp

RAW = 101


def passes(expression: str, source: int, destination: int) -> bool:
    """Whether a SYN between these ports is a candidate."""
    segment = source.to_bytes(2, "big") + tcp(port=destination)[2:]
    chosen, broken = select(*batch([ipv4(HOSTS[0], REAL[0], segment)]), RAW, compile_filter(expression))
    assert broken == 0
    return bool(chosen)


@pytest.mark.parametrize(("expression", "passing", "failing"), [
    ("", [(1, 2)], []), ("tcp", [(1, 2)], []), ("port 25", [(1, 25), (25, 1)], [(1, 26), (24, 24)]),
    ("dst port 25", [(1, 25)], [(25, 1)]), ("src port 25", [(25, 1)], [(1, 25)]),
    ("tcp port 25", [(1, 25)], [(1, 2)]), ("tcp dst port smtp", [(1, 25)], [(25, 1)]),
    ("tcp and dst port 25", [(1, 25)], [(25, 1)]), ("port 25 or port 587", [(1, 25), (1, 587)], [(1, 465)]),
    ("port 25 or 587", [(1, 25), (587, 1)], [(1, 465)]), ("dst port 25 or 587", [(1, 587)], [(587, 1)]),
    ("src port 9 and dst port 25", [(9, 25)], [(9, 26), (8, 25)]),
    # Both words bind alike, from left to right.
    ("port 1 or port 2 and port 3", [(1, 3), (2, 3)], [(1, 1), (2, 2)]),
    ("port 1 or (port 2 and port 3)", [(1, 1), (2, 3)], [(2, 2), (3, 3)]),
    ("(tcp) && (port 25 || port 26)", [(1, 26)], [(1, 27)]),
])
def test_the_common_forms(expression: str, passing: list[tuple[int, int]], failing: list[tuple[int, int]]) -> None:
    assert all(passes(expression, *ports) for ports in passing)
    assert not any(passes(expression, *ports) for ports in failing)


@pytest.mark.parametrize(("expression", "reason"), [
    ("host 192.0.2.1", '"host"'), ("udp port 25", '"udp"'), ("not port 25", '"not"'), ("port", "no port after"),
    ("port 65536", '"65536"'), ("port nosuchservice", '"nosuchservice"'), ("port 25 port 26", '"port"'),
    ("(port 25", "not closed"), ("port 25)", r'"\)"'), ("port 25 and", "ends where"), ("and", '"and"'),
    ("tcp src 192.0.2.1", '"192.0.2.1"'), ("tcp[13] & 2 != 0", r'"\["'), ("port 25\x00", r"x00"), ("25", '"25"'),
    ("(" * 17 + "tcp" + ")" * 17, "too many parentheses"), (" or ".join(["port 25"] * 33), "more than 64 parts"),
])
def test_what_is_not_understood_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_filter(expression)


@given(st.text(alphabet=st.sampled_from("portcdsan& |()0123456789\x00é"), max_size=40) | st.text(max_size=20))
def test_any_text_is_a_program_or_a_reason(expression: str) -> None:
    try:
        program = compile_filter(expression)
    except ValueError:
        return
    assert select(b"", b"", RAW, program) == (b"", 0)


Tree = tuple[str, "Tree", "Tree"] | tuple[str, int]
ends = {"port": (True, True), "src port": (True, False), "dst port": (False, True)}
leaves = st.tuples(st.sampled_from(sorted(ends)), st.integers(1, 4))
trees = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from(("and", "or")), inner, inner), max_leaves=12)


def written(tree: Tree) -> str:
    """As text, every pair in parentheses."""
    if len(tree) == 2:
        return f"{tree[0]} {tree[1]}"
    return f"({written(tree[1])} {tree[0]} {written(tree[2])})"


def meant(tree: Tree, source: int, destination: int) -> bool:
    """What it means."""
    if len(tree) == 2:
        at_source, at_destination = ends[tree[0]]
        return (at_source and source == tree[1]) or (at_destination and destination == tree[1])
    joined = [meant(side, source, destination) for side in tree[1:]]
    return all(joined) if tree[0] == "and" else any(joined)


@given(trees, st.integers(1, 4), st.integers(1, 4))
def test_a_program_means_what_the_words_mean(tree: Tree, source: int, destination: int) -> None:
    assert passes(written(tree), source, destination) == meant(tree, source, destination)


@pytest.mark.parametrize("program", [
    b"", b"\1\2\0", bytes([FILTER_AND, 0, 0, 0]), bytes([FILTER_PORT, 2, 0, 25, FILTER_OR, 0, 0, 0]),
    bytes([FILTER_ANY, 0, 0, 0] * 2), destination_port(25) * (MAX_FILTER // 4 + 1),
])
def test_a_program_that_is_none_never_runs(program: bytes) -> None:
    with pytest.raises(ValueError, match="no program"):
        select(b"", b"", RAW, program)
