"""What an SPF record has decided of a set of addresses, and what of it is open yet.

One range may decide thousands of others. So what decides goes on step by step: it yields each part that it decides,
and whoever runs it on the main loop pauses between them.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mxallowd.trust.ranges import Range, Ranges


@dataclass
class Verdict:
    """What a record says of addresses. Those in none of these sets are not matched."""

    passed: Ranges = field(default_factory=Ranges)
    unsure: Ranges = field(default_factory=Ranges)  # they may pass: it depends on what was left out
    broken: Ranges = field(default_factory=Ranges)  # an error came before a match


class State:
    """The addresses that a record has not decided yet."""

    def __init__(self, undecided: Ranges) -> None:
        self.open = undecided
        self.verdict = Verdict()
        self.may_pass = Ranges()  # of those that are open: what was left out may have let them pass
        self.may_fail = Ranges()

    def match(self, ranges: Iterable[Range], *, passes: bool) -> Iterator[tuple[Range, bool]]:
        """What of these is open is decided; each part, and whether it passes for sure."""
        for first, last in ranges:
            for part in self.open.cut(first, last):
                for one, sure in _divide(part, self.may_fail if passes else self.may_pass):
                    if not sure:
                        self.verdict.unsure.add(*one)
                    elif passes:
                        self.verdict.passed.add(*one)
                    yield one, sure and passes

    def may_match(self, ranges: Iterable[Range], *, passes: bool) -> Iterator[Range]:
        """What of these is open may be decided here, or may go on."""
        for first, last in ranges:
            yield from added(self.may_pass if passes else self.may_fail, self.open.parts(first, last))

    def break_off(self, ranges: Iterable[Range]) -> Iterator[Range]:
        """An error comes for what of these is open."""
        for first, last in ranges:
            yield from added(self.verdict.broken, self.open.cut(first, last))

    def leave_unsure(self, ranges: Iterable[Range]) -> Iterator[Range]:
        """What of these is open may pass, and no more is known."""
        for first, last in ranges:
            yield from added(self.verdict.unsure, self.open.cut(first, last))


def added(ranges: Ranges, parts: Iterable[Range]) -> Iterator[Range]:
    """Put the parts into a set, step by step."""
    for part in parts:
        ranges.add(*part)
        yield part


def _divide(whole: Range, ranges: Ranges) -> Iterator[tuple[Range, bool]]:
    """The parts of a range in their order, each with whether it is in none of the others."""
    at, last = whole
    for one in ranges.parts(*whole):
        if at < one[0]:
            yield (at, one[0] - 1), True
        yield one, False
        at = one[1] + 1
    if at <= last:
        yield (at, last), True
