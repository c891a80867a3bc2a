from collections.abc import Sequence

def verdicts(
    queue: int, packets: Sequence[tuple[int, int, bool]], marking: tuple[int, int] = (0, 0), *,
    refused: tuple[int, int] = (0, 0), pending: int = 0, dry_run: bool = False,
) -> tuple[bytes, int, int, int, int]:
    """The messages that answer a batch, as a queue thread sends them.

    Behind them, how many packets are dropped, how many are to be rejected by a rule, how many are accepted and came
    again, and how many are dropped since they should have been rejected by then. A packet is its id, the mark that it
    came with, and whether it is refused. `marking` is the value and the mask of --verdict-mark, `refused` of
    --refuse-mark; a mask of 0 is no mark. `pending` has a bit for each packet whose host may be let in by its next SYN.
    In a `dry_run` none is dropped. Raises ValueError on more packets than a batch has, OverflowError outside 16 and 32
    bits.
    """
