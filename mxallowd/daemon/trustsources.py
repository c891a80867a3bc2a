"""What is known of trusted senders, as sources of the allow list. Pure functions."""
from typing import NamedTuple

from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.engine.events import MAPPED
from mxallowd.lists.composition import ALLOW, Source, record_of
from mxallowd.trust.answers import Answer
from mxallowd.trust.lines import DNSWL, DOMAIN, NETWORK, TrustLine


class Host(NamedTuple):
    """A host that is let in by a list or its name."""

    key: str  # text of its line
    why: str
    until_s: int  # seconds since 1970


def made(
    file: str, every: list[TrustLine], hosts: list[tuple[bytes, Host]], spf: list[tuple[TrustLine, Answer]],
) -> list[Source]:
    """The sources. A line's number and words are what `explain` names; lines with the flag are sources of their own."""
    by_text = {line.text: line for line in every if line.word in (DNSWL, DOMAIN)}
    found = []
    for flag in (False, True):
        networks = [line for line in every if line.word == NETWORK and line.first_mx_only is flag]
        let_in = [(host, one, line) for host, one in hosts
                  if (line := by_text.get(one.key)) and line.first_mx_only is flag]
        found += [
            Source(file, ALLOW, b"".join(line.record for line in networks), [line.number for line in networks],
                   [_note(line) for line in networks], trusted=True, first_mx_only=flag),
            Source(file, ALLOW, b"".join(_record(host) for host, _, _ in let_in),
                   [line.number for _, _, line in let_in], [_note(line, one.why) for _, one, line in let_in],
                   [one.until_s for _, one, _ in let_in],
                   trusted=True, first_mx_only=flag)]
    return [*found, *(
        Source(file, ALLOW, answer.records, [line.number] * (len(answer.records) // RECORD_SIZE), _notes(line, answer),
               trusted=True, first_mx_only=line.first_mx_only)
        for line, answer in spf)]


def _notes(line: TrustLine, answer: Answer) -> list[str]:
    chains = answer.chains or ((len(answer.records) // RECORD_SIZE, ""),)
    return [note for count, text in chains for note in [_note(line, f"by {text}" if text else "")] * count]


def _record(host: bytes) -> bytes:
    return record_of(host[12:], 32, ALLOW) if host.startswith(MAPPED) else record_of(host, 128, ALLOW)


def _note(line: TrustLine, why: str = "") -> str:
    """What stands behind a network: the line, what let this host in or which record gave it, and the line's note."""
    return ", ".join(part for part in (line.text, why, line.note) if part)
