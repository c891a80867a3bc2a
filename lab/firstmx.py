"""A sender that knows the first MX only, as many programs and appliances do: it never tries another address.

What it cannot deliver it tries again by its own timer, each half hour, and gives it up after five days.
"""
import itertools
from email.message import EmailMessage
from types import TracebackType

from lab.hosts import Host
from lab.mta import deliver

QUEUE_RUN_S = 1800
GIVEN_UP_AFTER_S = 5 * 86_400
# Of one dropped attempt: the SYN that comes again after 1 s still counts.
CONNECT_TIMEOUT_S = 2.0


class FirstMxOnly:
    """A context manager, as the other agents are. `address` is that of the better MX of its recipients."""

    def __init__(self, host: Host, address: str) -> None:
        self._host, self._address = host, address
        self._now_s = 0
        self._queue: list[tuple[int, EmailMessage]] = []  # when it was sent
        self._said: list[str] = []
        self._bounced = 0
        self._numbers = itertools.count(1)

    def __enter__(self) -> "FirstMxOnly":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.clear()

    def send(self, subject: str, *recipients: str) -> None:
        """Try to deliver a message once."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, "a@mail.example.net", ", ".join(recipients)
        message.set_content(f"{next(self._numbers)}\n")
        self._try([(self._now_s, message)])

    def moved(self, ahead_s: int) -> None:
        """Its clock is now so far ahead of the kernel's."""
        self._now_s = ahead_s

    def due_s(self) -> float | None:
        """Seconds until anything is due; None where nothing waits."""
        return 0.0 if self._queue else None

    def run_queue(self) -> None:
        """Let it try what waits."""
        waiting, self._queue = self._queue, []
        self._try(waiting)

    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._queue)

    def bounced(self) -> int:
        """How many messages it gave up."""
        return self._bounced

    def log(self) -> str:
        """What became of each attempt."""
        return "\n".join(self._said)

    def _try(self, messages: list[tuple[int, EmailMessage]]) -> None:
        for sent_s, message in messages:
            [tried] = deliver(self._host, [self._address], message, CONNECT_TIMEOUT_S)
            self._said.append(f"{self._now_s} {tried.address} {tried.attempt.value}")
            if tried.delivered:
                continue
            if self._now_s - sent_s >= GIVEN_UP_AFTER_S:
                self._bounced += 1
            else:
                self._queue.append((sent_s, message))
