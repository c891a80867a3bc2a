"""Newcomers get in while somebody fills the whitelist with made-up hosts, slowly or as fast as one core can.

The same as benchmarks/newcomers.py measures, for a few seconds each.
"""
from argparse import Namespace

import pytest

from benchmarks.newcomers import Found, measure

pytestmark = pytest.mark.usefixtures("namespaces")
SENDERS = 30


def run(way: str, family: int, *, pairs: int, max_entries: int, restart: bool = False) -> Found:
    return measure(Namespace(way=way, family=family, pairs=pairs, seconds=2, senders=SENDERS, max_entries=max_entries,
                             filling=2, pause=0.5, restart=restart))


@pytest.mark.parametrize("family", [4, 6])
def test_a_small_whitelist_that_is_filled_each_second(family: int) -> None:
    found = run("a", family, pairs=1000, max_entries=1000)
    assert found.first_try == SENDERS


@pytest.mark.alone
@pytest.mark.parametrize(("way", "family"), [("a", 6), ("b", 4), ("c", 4)])
def test_as_many_made_up_pairs_as_one_core_sends(way: str, family: int) -> None:
    found = run(way, family, pairs=0, max_entries=1_000_000)
    assert found.first_try == SENDERS


@pytest.mark.alone
def test_after_a_restart_from_full_kernel_sets() -> None:
    found = run("b", 4, pairs=5000, max_entries=10_000, restart=True)
    assert found.first_try == SENDERS
