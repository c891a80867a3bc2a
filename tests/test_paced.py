"""A socket that is read in turns of the loop: each message once, in order, with a bound for each turn."""
import asyncio
import socket
import time

from mxallowd.backends.paced import LONGEST_S, PacedReader


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    return ours, theirs


def test_each_message_is_taken_once_and_in_order() -> None:
    async def story() -> None:
        ours, theirs = pair()
        taken: list[bytes] = []
        reader = PacedReader(ours, taken.append, 4)
        reader.start()
        for part in (b"ab", b"cd", b"longer"), (b"ef",):
            for message in part:
                theirs.send(message)
            # Also after nothing was left to read.
            await asyncio.sleep(0.1)
        assert taken == [b"ab", b"cd", b"long", b"ef"]
        reader.close()
        assert ours.fileno() == -1
        theirs.close()

    asyncio.run(story())


def test_a_flood_holds_no_turn_for_longer() -> None:
    async def story() -> None:
        ours, theirs = pair()
        turns: list[list[float]] = []

        def take(_: bytes) -> None:
            now = time.monotonic()
            if not turns or now - turns[-1][-1] > 2 * LONGEST_S:
                turns.append([])
            turns[-1].append(now)
            time.sleep(LONGEST_S / 4)

        reader = PacedReader(ours, take, 16)
        reader.start()
        for _ in range(10):
            theirs.send(b"x")
        await asyncio.sleep(0.3)
        # At least two turns, since ten take 2.5 times as long as one may; none has more than fit into it.
        assert sum(map(len, turns)) == 10
        assert len(turns) > 1
        assert max(map(len, turns)) <= 5
        reader.close()
        theirs.close()

    asyncio.run(story())


def test_closed_before_the_next_turn_it_reads_no_more() -> None:
    async def story() -> None:
        ours, theirs = pair()
        taken: list[bytes] = []
        reader = PacedReader(ours, taken.append, 16)
        reader.start()
        theirs.send(b"one")
        await asyncio.sleep(0.005)
        reader.close()
        await asyncio.sleep(0.05)
        assert taken == [b"one"]
        theirs.close()

    asyncio.run(story())
