"""Adoption: what a target holds at the start is whitelisted again.

A host that was known before a restart must be known after it. Targets are adopted one after the other. A host that is
listed already, from an earlier target, keeps its time. Hosts that a target then holds in another way than the whitelist
are returned, so that the mirror corrects them.
"""
from collections.abc import Sequence
from typing import NamedTuple

from mxallowd.mirrors import ALWAYS_S, Copied, Original, fresh_for

# The times of two targets are told apart from here on: each of them rounds.
TOLERANCE_S = 2


class Adoption(NamedTuple):
    """What came of it."""

    adopted: int  # hosts that were entered
    differing: list[bytes]  # hosts that are to stand in the target in another way, or not at all
    lacking: bool  # the whitelist has hosts that the target does not hold


def adopt(  # noqa: PLR0913  # how it is to stand there
    whitelist: Original, copied: Sequence[Copied], lifetime_s: int, *, expires: bool, renewable_s: int = 0,
    most_fresh_s: int = ALWAYS_S,
) -> Adoption:
    """Enter what the target holds; `expires` as the target has it, `lifetime_s` the longest that is left to any host.

    `renewable_s` and `most_fresh_s` as in Listing: with other options, the target may hold hosts as fresh that are not,
    or too long. Before any thread of the packet path runs.
    """
    now_us = whitelist.now_us()
    listed_before = len(whitelist)
    present = 0
    fresh, differing = [], []
    for one in copied:
        host, remaining_s, used, _ = one
        found = whitelist.find(host) if listed_before else None
        if found:
            present += 1
            whitelist.adopt(host, found[0], used=used)
            if remaining_s is not None and expires and (
                    abs(found[0] - now_us - 1_000_000 * remaining_s) > 1_000_000 * TOLERANCE_S or found[1] > used):
                differing.append(host)
        elif remaining_s is not None and whitelist.is_barred(
                host, now_us + 1_000_000 * remaining_s if expires else None):
            differing.append(host)
        elif remaining_s is not None and (remaining_s or not expires):
            # Neither the operator's own, which needs no entry here, nor one that has just ended.
            fresh.append(one)
    # A flood leaves more in the target than there is room for: those stay that were used, then the newest.
    fresh.sort(key=lambda one: (one.used, one.remaining_s or lifetime_s))
    left_out = max(0, len(fresh) - whitelist.room())
    if not expires:
        # They would stay for ever.
        differing += [one.host for one in fresh[:left_out]]
    # They come in as they came in once, the oldest first, which is what expires first.
    fresh = sorted(fresh[left_out:], key=lambda one: one.remaining_s or lifetime_s)
    adopted = 0
    for host, remaining_s, used, fresh_s in fresh:
        until_us = now_us + 1_000_000 * min(remaining_s or lifetime_s, lifetime_s)
        adopted += whitelist.adopt(host, until_us, used=used)
        if remaining_s and (remaining_s > lifetime_s or (
                fresh_s is not None and fresh_s > fresh_for(remaining_s, renewable_s, most_fresh_s) + TOLERANCE_S)):
            # It ends, or is renewed, sooner than the target has been told.
            differing.append(host)
    return Adoption(adopted, differing, present < listed_before)
