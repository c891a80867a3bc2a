from collections.abc import Sequence

def verdicts(
    queue: int, packets: Sequence[tuple[int, int, bool]], marking: tuple[int, int] = (0, 0), *,
    dry_run: bool = False,
) -> tuple[bytes, int, int]:
    """The messages that answer a batch, as a queue thread sends them; how many packets are dropped, and came again.

    A packet is its id, the mark that it came with, and whether it is dropped. `marking` is the value and the mask of
    --verdict-mark; a mask of 0 is no mark. In a `dry_run` none is dropped. Raises ValueError on more packets than a
    batch has, OverflowError outside 16 and 32 bits.
    """
