"""SPF records laid flat, against the test suite of RFC 7208."""
import asyncio

import pytest

from mxallowd.trust.flatten import flatten
from tests.spf_suite import Asked, Case, cases

CASES = cases()
# Cases that pass and are not told: the record lets this host send by a term that depends on who asks.
LEFT_OUT = {
    "ptr": ["ptr-match-target", "ptr-match-implicit", "ptr-match-ip6", "ptr-case-change", "ptr-limit", "bytes-bug"],
    "macro": ["trailing-dot-domain", "macro-mania-in-domain", "p-macro-multiple", "hello-macro",
              "macro-reverse-split-on-dash", "macro-multiple-delimiters"]}
NOT_TOLD = {name for names in LEFT_OUT.values() for name in names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_suite(case: Case) -> None:
    found = asyncio.run(flatten(case.domain, Asked(case.zone).records))
    trusted = any(case.host in network for network in found.networks)
    # Never more than the record lets send; and all of that, but for what the table has, which is named.
    if case.name in NOT_TOLD:
        assert ("pass" in case.results, trusted, bool(found.left_out)) == (True, False, True)
    else:
        assert trusted == ("pass" in case.results), found


def test_the_whole_suite_was_there() -> None:
    assert len(CASES) == 203
    assert {case.name for case in CASES} > NOT_TOLD
