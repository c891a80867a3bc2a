"""Somebody else who speaks in a gateway's name, with its key: what he ends or takes the place of is said again."""
import pytest

from mxallowd.fleet import batch
from mxallowd.fleet.hearing import TWIN_AFTER_MS
from mxallowd.fleet.keys import Keys
from mxallowd.fleet.peers import Peer
from mxallowd.fleet.run import AGAIN_US, MOST_EPOCHS, MOST_SENT, Answer, Run
from tests.fleet_stream import KEYS, START_MS, Receiver, Sender, entries, number_of


@pytest.fixture
def run() -> Run:
    return Run()


def test_its_own_batches_change_nothing(run: Run) -> None:
    """Heard before or after the engine has answered, read again, lost, or put into the stream once more."""
    for at in range(1, 2 * MOST_SENT):
        assert run.next() == at
        if at % 3:
            run.heard(run.epoch, at, (1000 + at, 0), 0)
        if at % 5:
            run.sent((1000 + at, 0), 0)
        run.heard(run.epoch, at, (1000 + at, 0), 0)
        run.heard(run.epoch, at, (9000 + at, 0), 0)
    run.heard(77, 2**64 - 1, (1, 0), 0)
    assert run.answer(0) is Answer.NOTHING
    assert run.contested_us is None
    assert len(run._sent) <= MOST_SENT + 1


@pytest.mark.parametrize("how", ["ahead", "before", "before it is answered"])
def test_a_batch_of_its_epoch_that_it_did_not_say(run: Run, how: str) -> None:
    epoch = run.epoch
    run.next()
    if how == "before it is answered":
        run.heard(epoch, 1, (999, 0), 0)
    run.sent((1000, 0), 0)
    if how == "ahead":
        run.heard(epoch, 2**64 - 1, (1001, 0), 0)
    elif how == "before":
        run.heard(epoch, 1, (999, 0), 0)
    assert run.answer(0) is Answer.SAY_ALL_ANEW
    assert run.epoch != epoch
    assert run.epochs == (run.epoch, epoch)
    assert run.answer(0) is Answer.NOTHING


def test_it_does_not_answer_without_end(run: Run) -> None:
    answers = []
    for second in range(2000):
        run.heard(run.epoch, 2**64 - 1, (second, 0), second * 1_000_000)
        answers.append(run.answer(second * 1_000_000))
    assert answers.count(Answer.SAY_ALL_ANEW) == 2000 * 1_000_000 // AGAIN_US
    assert len(run.epochs) == MOST_EPOCHS


def said(receiver: Receiver) -> list[int]:
    """What is said after a moment, by its numbers."""
    receiver.hearing.tick()
    hosts: list[int] = []
    for _ in range(3):
        receiver.engine_ms += 1000
        if found := receiver.saying.take():
            receiver.saying.message(found, KEYS)
            receiver.saying.done(found, (receiver.engine_ms, 0))
            hosts += [number_of(one) for one in found.hosts]
    return hosts


@pytest.fixture
def receiver() -> Receiver:
    """One with two entries of its own, which are in the stream."""
    made = Receiver(loading=True)
    made.contact(1, 2)
    made.hearing.loaded()
    made.saying.loaded({}, (START_MS, 0), made.engine_ms)
    made.engine_ms += 1000
    assert said(made) == [1, 2]
    assert said(made) == []
    return made


def test_who_flushes_or_removes_in_our_name_is_contradicted(receiver: Receiver) -> None:
    other = Sender(receiver, "mx1", epoch=99)
    receiver.engine_ms += TWIN_AFTER_MS
    receiver.hear(other.say(batch.flush(0)))
    assert said(receiver) == [1, 2]
    assert receiver.hearing.is_twin()
    # Again and again: one answer each 20 seconds, and none is left out.
    for _ in range(3):
        receiver.hear(other.say(batch.removal(bytes(12) + b"\1\2\3\4", 0)))
        assert said(receiver) == []
    receiver.engine_ms += AGAIN_US // 1000
    assert said(receiver) == [1, 2]


def test_who_takes_our_place_does_not_silence_us(receiver: Receiver) -> None:
    """The others refuse each batch behind the largest number of that epoch."""
    other = Receiver()
    evil = Sender(receiver, "mx1", receiver.saying.run.epoch)
    evil.sequence = 2**64 - 2
    other.engine_ms = receiver.engine_ms
    poison = evil.say(b"")
    other.hear(poison)
    receiver.hear(poison)
    assert receiver.hearing.is_twin()
    receiver.hearing.tick()
    found = receiver.saying.take()
    assert found is not None
    peer = Peer("mx1", 1, 0)
    assert peer.is_new(evil.epoch, 2**64 - 1, (1, 0))
    content = batch.unseal(receiver.saying.message(found, KEYS), KEYS)
    assert peer.is_new(content.epoch, content.sequence, (2, 0))
    assert [number_of(one) for one in found.hosts] == [1, 2]


def test_what_was_said_with_a_key_that_is_gone_silences_nobody() -> None:
    """Even where that gateway was not there to notice."""
    new = Keys([bytes(range(1, 33)), bytes(range(32))], "example")
    receiver = Receiver()
    evil = Sender(receiver, "mx2", epoch=7)
    evil.sequence = 2**64 - 2
    receiver.hear(evil.say(entries(1)))
    receiver.hearing.keys = new
    content = batch.Batch("mx2", 7, 5, START_MS, 3600, entries(2), ())
    message = f"{START_MS + 5}-1".encode(), batch.seal(content, new)
    receiver.hear(message, (f"{START_MS + 6}-1".encode(), message[1]))
    assert receiver.hosts() == [1, 2]
    assert receiver.refused() == {"replayed": 1}


def test_old_batches_of_earlier_runs_are_no_other_gateway(receiver: Receiver) -> None:
    receiver.hearing.started_ms = START_MS
    old = Sender(receiver, "mx1", epoch=5)
    receiver.engine_ms += TWIN_AFTER_MS + 1
    for _ in range(3):
        receiver.hear(old.say(entries(9), wall_ms=START_MS - 5000))
    assert not receiver.hearing.is_twin()
