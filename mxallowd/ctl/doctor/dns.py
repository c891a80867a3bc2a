"""Questions to name servers, one after the other, with c-ares; each has an end."""
import threading
from collections.abc import Sequence
from types import TracebackType

import pycares

TIMEOUT_S, TRIES = 2.0, 2
LIMIT_S = 10.0
KINDS = {"A": pycares.QUERY_TYPE_A, "AAAA": pycares.QUERY_TYPE_AAAA, "MX": pycares.QUERY_TYPE_MX,
         "NS": pycares.QUERY_TYPE_NS, "CNAME": pycares.QUERY_TYPE_CNAME}
# They say that nothing is there, which is an answer.
_NOTHING = (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND)


# The server answers, and not with what it was asked for.
_REFUSALS = (pycares.errno.ARES_EREFUSED, pycares.errno.ARES_ESERVFAIL, pycares.errno.ARES_ENOTIMP,
             pycares.errno.ARES_EFORMERR)


class Failed(Exception):
    """No answer that could be used; the text says why. `refused`: the server answered, with an error."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class Asking:
    """A channel. `servers` as in --dns-server; none: those of resolv.conf."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.no_such_name = False
        """Whether the last answer was that nothing at all has this name (NXDOMAIN)."""
        if servers:
            self._channel = pycares.Channel(
                flags=pycares.ARES_FLAG_NOSEARCH, timeout=TIMEOUT_S, tries=TRIES, servers=list(servers))
        else:
            self._channel = pycares.Channel(flags=pycares.ARES_FLAG_NOSEARCH, timeout=TIMEOUT_S, tries=TRIES)

    def __enter__(self) -> "Asking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def exchanges(self, domain: str) -> list[tuple[int, str]]:
        """Preference and name of each MX record. Raises Failed."""
        return [(one.priority, _text(one.exchange)) for one in self._data(domain, "MX")
                if isinstance(one, pycares.MXRecordData)]

    def addresses(self, name: str, kind: str) -> list[str]:
        """The addresses of a name, A or AAAA. Raises Failed."""
        return [_text(one.addr) for one in self._data(name, kind)
                if isinstance(one, pycares.ARecordData | pycares.AAAARecordData)]

    def is_alias(self, name: str) -> bool:
        """Whether the name is an alias of another. Raises Failed."""
        return bool(self._data(name, "CNAME"))

    def works(self) -> None:
        """Have any question answered. Raises Failed."""
        self._data("localhost.invalid", "A")

    def _data(self, name: str, kind: str) -> list[object]:
        answered = threading.Event()
        found: list[tuple[pycares.DNSResult | None, int | None]] = []

        def take(result: pycares.DNSResult | None, error: int | None) -> None:
            found.append((result, error))
            answered.set()

        try:
            self._channel.query(name, KINDS[kind], callback=take)
        except (pycares.AresError, ValueError, UnicodeError) as refused:
            raise Failed(str(refused.args[-1] if refused.args else refused)) from None
        if not answered.wait(LIMIT_S):
            raise Failed("no answer")
        result, error = found[0]
        self.no_such_name = error == pycares.errno.ARES_ENOTFOUND
        if result is None:
            if error in _NOTHING:
                return []
            raise Failed(str(pycares.errno.strerror(error or 0)), refused=error in _REFUSALS)
        return [one.data for one in result.answer if one.type == KINDS[kind]]


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value
