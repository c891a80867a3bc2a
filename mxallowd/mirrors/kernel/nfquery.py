"""Sets, their elements and named counters of one table, read from the kernel and changed there directly.

No library of nft's takes part. It would read all sets of the host, of every table: what a newer nft has written there
makes an older one crash, a list of countries takes it half a second, and one element of a set of 200,000 two seconds.
Here the kernel is asked for what stands in the operator's table under our names, and for nothing else, and it answers
within some microseconds.
"""
import errno
import time
from collections.abc import Callable, Container, Iterable, Sequence

from mxallowd.mirrors import TargetError, TargetFull, TargetRejects
from mxallowd.mirrors.kernel.netlink import (
    CREATE,
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    EXCLUSIVE,
    REQUEST,
    Netlink,
    attributes,
    error_number,
    error_text,
    generic,
    nested,
)
from mxallowd.mirrors.kernel.nfhooks import GETCHAIN, NEWCHAIN, doors
from mxallowd.mirrors.kernel.nfmessages import (
    COUNTER_PACKETS,
    GENERATION,
    GETGEN,
    GETOBJ,
    GETSET,
    GETSETELEM,
    LIST_ELEMENTS,
    NAME,
    NEWGEN,
    NEWOBJ,
    NEWSET,
    NEWSETELEM,
    NEWTABLE,
    OBJECT_COUNTER,
    OBJECT_DATA,
    OBJECT_QUOTA,
    OBJECT_TYPE,
    QUOTA_BYTES,
    QUOTA_CONSUMED,
    RESETOBJ,
    TABLE,
    Batch,
    Remaining,
    SetFound,
    elements,
    key_alone,
    number,
    set_declared,
    set_found,
    text,
)
from mxallowd.mirrors.kernel.nfrules import GETRULE, NEWRULE, drops

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_, linux/netfilter.h
_BATCH_TIMEOUT_S = 30.0
# Requests in flight: their answers fit into the smallest receive buffer.
_WINDOW = 64
_DUMP_TRIES = 6
_RULES_S = 1.0
# What the kernel says of one element that it does not take. All else is about the set, the table or the machine.
_OF_ELEMENTS = frozenset({
    errno.EINVAL, errno.ERANGE, errno.EEXIST, errno.EOPNOTSUPP, errno.EBUSY, errno.EPROTO, errno.EAFNOSUPPORT,
    errno.EADDRNOTAVAIL, errno.EOVERFLOW})


class TargetEnded(TargetError):
    """Something that the transaction names is not there: an element has ended, or the set or table is missing."""


class NfQuery:
    """A netlink socket that asks about one table."""

    def __init__(self, family: str, table: str) -> None:
        """Raises OSError."""
        self._family = FAMILIES[family]
        self._name = table
        self._table = generic(self._family) + text(TABLE, table)
        self._netlink = Netlink("nf_tables")

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    # ---- the table

    def sets(self, names: Iterable[str]) -> dict[str, SetFound]:
        """Those of these sets that are there. Raises TargetError."""
        found = {}
        for name in names:
            answer = self._ask(GETSET, self._set_of(name), NEWSET, f"set {name}")
            if answer is not None:
                found[name] = set_found(answer)
        return found

    def create(
        self, sets: Iterable[tuple[str, str, int | None]], counters: Iterable[str], dynamic: Container[str] = (),
    ) -> None:
        """The table, sets (name, type, size) that are not there, and counters that may be. Raises TargetError.

        Without a size it is a set of intervals. Into those named by `dynamic` rules enter hosts as well.
        """
        batch = self.batch()
        batch.append(NEWTABLE, CREATE)
        for place, (name, kind, size) in enumerate(sets, 1):
            batch.append(NEWSET, CREATE | EXCLUSIVE, text(NAME, name), set_declared(
                kind, size, place, dynamic=name in dynamic))
        for name in counters:
            batch.append(NEWOBJ, CREATE, text(NAME, name), number(OBJECT_TYPE, OBJECT_COUNTER), nested(OBJECT_DATA))
        try:
            self.commit(batch)
        except TargetRejects as error:
            raise TargetError(f"cannot create the sets: {error}") from None

    def packets(self, counter: str) -> int | None:
        """The packets of a named counter; None where there is none of that name. Raises TargetError."""
        values = self._object(GETOBJ, counter, OBJECT_COUNTER)
        return None if values is None else int.from_bytes(values.get(COUNTER_PACKETS, b""), "big")

    def refill(self, quota: str) -> bool:
        """Take back what a named quota has counted, once half of it is used up; False: there is none of that name.

        Not before, since each time costs a line where the kernel's audit runs. Raises TargetError.
        """
        values = self._object(GETOBJ, quota, OBJECT_QUOTA)
        if values is None:
            return False
        whole, used = (int.from_bytes(values.get(kind, b""), "big") for kind in (QUOTA_BYTES, QUOTA_CONSUMED))
        if 2 * used >= whole:
            self._object(RESETOBJ, quota, OBJECT_QUOTA)
        return True

    def _object(self, kind: int, name: str, of_type: int) -> dict[int, memoryview] | None:
        """What there is of a named object; None where there is none of that name."""
        body = self._table + text(NAME, name) + number(OBJECT_TYPE, of_type)
        answer = self._ask(kind, body, NEWOBJ, name)
        if answer is None:
            return None
        data = next((inner for what, inner in attributes(answer[4:]) if what == OBJECT_DATA), None)
        return dict(attributes(data)) if data is not None else {}

    def drops(self, counter: str) -> bool | None:
        """Whether a rule drops what it counts with this counter; None: not found out in time. Raises TargetError."""
        found: list[bool] = []
        if not self._dump(GETRULE, NEWRULE, "rules", lambda body: found.append(drops(body, counter))):
            return None
        return any(found)

    def doors(self) -> set[str]:
        """The interfaces at whose ingress a chain of the table stands, as nfhooks has them. Raises TargetError."""
        found: set[str] = set()
        # Of all tables of the family: the kernel leaves none out.
        if not self._dump(GETCHAIN, NEWCHAIN, "chains",
                          lambda body: found.update(doors(body, self._family, self._name))):
            raise TargetError(f"the chains are not told within {_RULES_S:.0f} s, or change all the time")
        return found

    def _dump(self, kind: int, wanted: int, what: str, take: Callable[[memoryview], object]) -> bool:
        """Let `take` have each message of the answer; False: not all came in time, or they changed meanwhile.

        Raises TargetError.
        """
        until = time.monotonic() + _RULES_S
        whole = True
        self._netlink.send(self._netlink.message(kind, REQUEST | DUMP, self._table))
        while time.monotonic() < until:
            for found, flags, body in self._netlink.receive(self._netlink.sequence):
                whole = whole and not flags & DUMP_INTERRUPTED
                if found == DONE:
                    return whole
                if found == ERROR:
                    _check_error(body, what)
                    return whole
                if found == wanted:
                    take(body)
        # Nobody reads the rest of the answer.
        self._netlink.open_again()
        return False

    def generation(self) -> int:
        """A number that another one follows with each transaction of anybody in this network. Raises TargetError."""
        answer = self._ask(GETGEN, generic(0), NEWGEN, "generation")
        values = dict(attributes(answer[4:])) if answer is not None else {}
        return int.from_bytes(values.get(GENERATION, b""), "big")

    def _ask(self, kind: int, body: bytes, wanted: int, what: str) -> memoryview | None:
        """The answer of this type; None where the kernel says that there is no such thing."""
        self._netlink.send(self._netlink.message(kind, REQUEST, body))
        while True:
            for found, _, answer in self._netlink.receive(self._netlink.sequence):
                if found == ERROR:
                    _check_error(answer, what)
                    return None
                if found == wanted:
                    return answer

    def _set_of(self, name: str) -> bytes:
        return self._table + text(NAME, name)

    # ---- elements

    def get(self, name: str, keys: Sequence[bytes]) -> dict[bytes, Remaining]:
        """Those of the keys (4 or 16 bytes) that the set holds. Raises TargetError."""
        found: dict[bytes, Remaining] = {}
        for first in range(0, len(keys), _WINDOW):
            some = keys[first : first + _WINDOW]
            asked_from = self._netlink.sequence + 1
            self._netlink.send(b"".join(self._request(name, key) for key in some))
            answered = 0
            while answered < len(some):
                for kind, _, body in self._netlink.receive(asked_from):
                    answered += 1
                    if kind == NEWSETELEM:
                        found.update(elements(body))
                    elif kind == ERROR:
                        _check_error(body, f"set {name}")
        return found

    def dump(self, name: str, limit_s: float) -> tuple[dict[bytes, Remaining], bool]:
        """What the set holds, and whether that is complete: the time is limited. Raises TargetError.

        For each part of its answer the kernel walks through the set from its beginning: 0.3 s for 100,000 elements,
        1.3 s for 200,000, half a minute for a million.
        """
        found: dict[bytes, Remaining] = {}
        complete = self.walk(name, limit_s, lambda body: found.update(elements(body)), found.clear)
        return found, complete

    def walk(
        self, name: str, limit_s: float, take: Callable[[memoryview], None], forget: Callable[[], None],
    ) -> bool:
        """Let `take` have each NEWSETELEM of the set; whether these were all. Raises TargetError.

        `forget` is called where the set changed in between: what was taken may not belong together.
        """
        deadline = time.monotonic() + limit_s
        for _ in range(_DUMP_TRIES):
            forget()
            if self._walk(name, deadline, take):
                return True
            if time.monotonic() >= deadline:
                # The kernel is in the middle of its answer, and would take no other question on this socket.
                self._netlink.open_again()
                break
        return False

    def _walk(self, name: str, deadline: float, take: Callable[[memoryview], None]) -> bool:
        self._netlink.send(self._request(name, None))
        complete = True
        while time.monotonic() < deadline:
            for kind, flags, body in self._netlink.receive(self._netlink.sequence):
                # The ruleset changed in the middle: what came before and after may not belong together.
                complete = complete and not flags & DUMP_INTERRUPTED
                if kind == DONE:
                    return complete
                if kind == ERROR:
                    _check_error(body, f"set {name}", missing_is_error=True)
                elif kind == NEWSETELEM:
                    take(body)
        return False

    def _request(self, name: str, key: bytes | None) -> bytes:
        if key is None:
            return self._netlink.message(GETSETELEM, REQUEST | DUMP, self._set_of(name))
        return self._netlink.message(
            GETSETELEM, REQUEST, self._set_of(name) + nested(LIST_ELEMENTS, key_alone(key)))

    # ---- transactions

    def batch(self) -> Batch:
        """An empty one. Raises TargetError."""
        return Batch(self._netlink, self._family, self._name, self._netlink.room(0))

    def room(self, size: int) -> int:
        """How long a transaction may be, which one would like to be of this length. Raises TargetError."""
        return self._netlink.room(size)

    def commit(self, batch: Batch) -> bool:
        """Carry it out, in one transaction where it is not too long; whether it was one.

        Raises TargetError, TargetEnded, TargetFull, TargetRejects; nothing has changed then, or some of the parts.
        """
        size = batch.finish()
        room = self._netlink.room(size)
        self._netlink.wait_at_most(_BATCH_TIMEOUT_S)
        try:
            for first, part in batch.parts(room):
                self._netlink.send(part)
                self._wait_for(first)
        finally:
            self._netlink.wait_at_most()
        return size <= room

    def _wait_for(self, first: int) -> None:
        while True:
            for kind, _, body in self._netlink.receive(first):
                if kind == ERROR:
                    _check_batch(body)
                    return


def _check_batch(body: memoryview) -> None:
    found = error_number(body)
    if found == errno.ENFILE:
        raise TargetFull("the set is full")
    if found == errno.ENOENT:
        raise TargetEnded(error_text(found))
    if found:
        raise (TargetRejects if found in _OF_ELEMENTS else TargetError)(error_text(found))


def _check_error(body: memoryview, name: str, *, missing_is_error: bool = False) -> None:
    """Raise TargetError, but where the answer only says that there is no such thing."""
    found = error_number(body)
    if found and (missing_is_error or found != errno.ENOENT):
        raise TargetError(f"{name}: {error_text(found)}")
