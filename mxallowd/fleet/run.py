"""One run of a gateway, as the others tell its batches apart: its epoch and sequences; and who else speaks in its name.

Whoever has the key can. Where he ends what this gateway said (contested()), it says all again. Where he uses its epoch,
with a sequence that it has not reached, or before it does, the others refuse what it says by such a number: then it
takes a new epoch besides. Both at most each AGAIN_US, since he can do it for ever.
"""
import secrets
from enum import Enum

from mxallowd.fleet.peers import Id

AGAIN_US = 20_000_000
MOST_EPOCHS = 64
MOST_SENT = 256  # batches whose place in the stream is remembered


class Answer(Enum):
    """What to do about somebody else who speaks in our name."""

    NOTHING, SAY_AGAIN, SAY_ALL_ANEW = range(3)


class Run:
    """Of this gateway, since its start. Times are the whitelist's, in microseconds."""

    def __init__(self) -> None:
        self.epoch = secrets.randbits(64)
        """The present one."""
        self.epochs: tuple[int, ...] = (self.epoch,)
        """All of this start, at most MOST_EPOCHS."""
        self.sequence = 0
        """Of the last batch that was sealed."""
        self.contested_us: int | None = None
        """When somebody else was heard last."""
        self._sent: dict[int, Id] = {}  # the first place of each of the last sequences of this epoch
        self._contested = self._taken = False  # since the last answer
        self._answered_us = -AGAIN_US

    def next(self) -> int:
        """The sequence of the next batch."""
        self.sequence += 1
        return self.sequence

    def sent(self, id_: Id, now_us: int) -> None:
        """The last batch is in the stream, there."""
        if self._sent.setdefault(self.sequence, id_) < id_:
            self._take(now_us)
        while len(self._sent) > MOST_SENT:
            del self._sent[next(iter(self._sent))]

    def heard(self, epoch: int, sequence: int, id_: Id, now_us: int) -> None:
        """A batch of one of our epochs is there."""
        # One behind ours is a replay, which the others refuse.
        if epoch == self.epoch and (sequence > self.sequence or id_ < self._sent.setdefault(sequence, id_)):
            self._take(now_us)

    def _take(self, now_us: int) -> None:
        self._taken = True
        self.contested(now_us)

    def contested(self, now_us: int) -> None:
        """What somebody said in our name may have ended elsewhere what we let in."""
        self.contested_us = now_us
        self._contested = True

    def answer(self, now_us: int) -> Answer:
        """What is to be done now; SAY_ALL_ANEW: the epoch is a new one."""
        if not self._contested or now_us - self._answered_us < AGAIN_US:
            return Answer.NOTHING
        self._answered_us = now_us
        taken, self._contested, self._taken = self._taken, False, False
        if not taken:
            return Answer.SAY_AGAIN
        self.epoch = secrets.randbits(64)
        self.epochs = (self.epoch, *self.epochs[:MOST_EPOCHS - 1])
        self._sent.clear()
        return Answer.SAY_ALL_ANEW
