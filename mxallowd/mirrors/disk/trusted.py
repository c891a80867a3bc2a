"""The file `trusted`: the last good answer to each domain of trusted senders, so that it holds after a restart.

It is written as a whole, of the same checked blocks as the other files: some 40 kB for a dozen large senders, 40 MB at
the most. A block has a piece of one answer.

Which way it fails: what is damaged costs the answers that it is a piece of, which are asked for anew. Nothing that was
not written is ever trusted. The file may be made by somebody: no more answers are taken than a file of trusted senders
can ask for, and none with more networks than are believed, before anything is made of them.
"""
import struct
from collections.abc import Callable, Iterator, Mapping

from mxallowd.dns.hostnames import normal_name
from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.mirrors.disk import blocks, files
from mxallowd.mirrors.disk.blocks import Clock, Contents, Damage, Kind, Reader
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.text import printable, shortened
from mxallowd.trust.answers import LEAST_LIFE_S, LONGEST_LIFE_S, MAX_NETWORKS, Answer, Chain, disbelief_of
from mxallowd.trust.lines import MOST, SPF

NAME = "trusted"
MOST_BYTES = 64 << 20
# When it was learned and its life, in seconds; networks of the whole answer, and number of the first one here; length
# of the domain's name, which follows, and then the records.
_HEAD = struct.Struct("=qIIIB")
# In place of the first one's number: what follows is which domains gave the records, `COUNT DOMAINS` a line.
_CHAINS = (1 << 32) - 1
LONGEST_COUNT = len(str(MAX_NETWORKS))  # digits
MOST_ANSWERS = MOST[SPF]  # in a file
_Key = tuple[str, int, int, int]  # domain, when it was learned, its life, networks


def write(directory: Directory, moment: Callable[[], Clock], answers: Mapping[str, Answer]) -> int:
    """Let these answers take the place of those that are kept; the size of the file. Raises OSError."""
    return files.write_whole(directory, NAME, moment, _contents(answers))


def _contents(answers: Mapping[str, Answer]) -> Contents:
    for domain, answer in answers.items():
        name = domain.encode("ascii")
        room = (blocks.MOST_BYTES - _HEAD.size - len(name)) // RECORD_SIZE * RECORD_SIZE
        for at in range(0, len(answer.records), room):
            head = _HEAD.pack(answer.learned_s, answer.life_s, len(answer.records) // RECORD_SIZE, at // RECORD_SIZE,
                              len(name))
            yield Kind.TRUSTED, head + name + answer.records[at : at + room]
        written = "".join(f"{count} {text}\n" for count, text in answer.chains).encode("ascii")
        # Without them nothing is missing but words of `explain`.
        if written and len(written) <= blocks.MOST_BYTES - _HEAD.size - len(name):
            yield Kind.TRUSTED, _HEAD.pack(answer.learned_s, answer.life_s, len(answer.records) // RECORD_SIZE,
                                           _CHAINS, len(name)) + name + written


def read(directory: Directory) -> tuple[dict[str, Answer], Damage | None]:
    """The answers that are kept, and what was damaged. Raises OSError; FileNotFoundError where none are."""
    reader = Reader(directory.read(NAME, MOST_BYTES), complete=True)
    found: dict[str, Answer] = {}
    wrong = 0
    for domain, answer in _gathered(reader):
        if answer is None or not _is_good(domain, answer):
            wrong += 1
        else:
            found[domain] = answer
    damage = reader.damage()
    if wrong and damage is None:
        damage = Damage(0, f"{wrong} answers in it are not whole")
    return found, damage


def _gathered(reader: Reader) -> Iterator[tuple[str, Answer | None]]:
    """Each answer that has a piece; None: it is not whole, or none that could have been written."""
    pieces: dict[_Key, dict[int, bytes]] = {}
    refused: set[str] = set()
    for block in reader:
        if block.kind != Kind.TRUSTED or len(block.content) < _HEAD.size:
            continue
        learned_s, life, total, first, length = _HEAD.unpack_from(block.content)
        name = bytes(block.content[_HEAD.size : _HEAD.size + length]).decode("ascii", "replace")
        key = (name, learned_s, life, total)
        if total > MAX_NETWORKS or (key not in pieces and len(pieces) == MOST_ANSWERS):
            refused.add(name)
            continue
        pieces.setdefault(key, {})[first] = bytes(block.content[_HEAD.size + length :])
    yield from ((name, None) for name in refused)
    for (name, learned_s, life, total), parts in pieces.items():
        chains = _chains_of(parts.pop(_CHAINS, b""), total)
        records = _joined(parts, total)
        yield name, None if records is None else Answer(records, learned_s, life, chains)


def _joined(parts: Mapping[int, bytes], total: int) -> bytes | None:
    """So many records, of pieces by the number of their first one; None: they are not whole."""
    found, at = [], 0
    while at < total:
        part = parts.get(at, b"")
        count, rest = divmod(len(part), RECORD_SIZE)
        if not count or rest:
            return None
        found.append(part)
        at += count
    return b"".join(found) if at == total else None


def _chains_of(written: bytes, total: int) -> tuple[Chain, ...]:
    """Which domains gave the records; empty where that does not fit to them."""
    pairs = [line.partition(" ") for line in written.decode("ascii", "replace").splitlines()]
    # What stands there may be anything, also more digits than int() takes.
    if not all(count.isascii() and count.isdigit() and len(count) <= LONGEST_COUNT for count, _, _ in pairs):
        return ()
    found = tuple((int(count), shortened(printable(text))) for count, _, text in pairs)
    return found if sum(count for count, _ in found) == total else ()


def _is_good(domain: str, answer: Answer) -> bool:
    """Whether it is one that could have been believed: the file may be of another version, or made by somebody."""
    if normal_name(domain) != domain or not LEAST_LIFE_S <= answer.life_s <= LONGEST_LIFE_S:
        return False
    try:
        return disbelief_of(answer.records) is None
    except ValueError:
        return False
