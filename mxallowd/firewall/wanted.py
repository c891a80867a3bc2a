"""What the text of a ruleset depends on. The defaults are what stands in the files: the documentation's addresses.

All texts of it are what the converters of settings/values.py let through, which is looked at here once more. So none
means more to nft or to a shell than an address or a name: a table's is a plain word, and an interface's, which may have
more characters, stands in quotes, and in rulesets for nft alone.
"""
from dataclasses import dataclass

from mxallowd.settings.options import BY_NAME
from mxallowd.settings.values import address, interface, nft_table

TABLE = "inet mxallowd"
OUTBOUND_TABLE = "inet mxallowd_outbound"
QUEUE, GROUP, OUTBOUND_GROUP, PORT = 23, 5, 6, 25
SIZED_FOR = 1_000_000  # hosts; the sets of the files hold twice as many


@dataclass(frozen=True)
class Wanted:
    """One ruleset's values; addresses are texts, and a family without any has none in its rules.

    Raises ValueError on a text that is no address or name.
    """

    fake4: tuple[str, ...] = ("192.0.2.10",)
    fake6: tuple[str, ...] = ("2001:db8::10",)
    real4: tuple[str, ...] = ("192.0.2.20",)
    real6: tuple[str, ...] = ("2001:db8::20",)
    direct: bool = False  # hosts are led from the fake server to the first real one of their family
    table: str = TABLE  # FAMILY NAME
    ports: tuple[int, ...] = (PORT,)
    queues: range = range(QUEUE, QUEUE + 1)
    group: int = GROUP
    outbound: int = OUTBOUND_GROUP
    verdict_mark: tuple[int, int] | None = None  # value and mask
    refuse_mark: tuple[int, int] = (0x40000000, 0x40000000)
    reset: bool = False  # refused hosts get a RST
    renew: str = "contact"
    network_key: tuple[int, int] | None = None
    dry_run: bool = False
    doors: tuple[str, ...] = ("eth0",)
    entries: int = SIZED_FOR

    def __post_init__(self) -> None:
        for convert, texts in ((address, (*self.fake4, *self.fake6, *self.real4, *self.real6)),
                               (nft_table, (self.table,)), (interface, self.doors),
                               (BY_NAME["renew"].convert, (self.renew,))):
            for text in texts:
                if str(convert(text)) != text:
                    raise ValueError(f"{text!r} is not written as it stands in rulesets")

    def servers(self, kind: str, family: int) -> tuple[str, ...]:
        """The addresses of a kind ("fake", "real" or "direct") and a family (4 or 6)."""
        if kind == "direct":
            # One for all: DNAT leads to one address. Nobody is led where one of the two servers is missing.
            real = self.servers("real", family)
            return real[:1] if self.servers("fake", family) else ()
        found: tuple[str, ...] = getattr(self, f"{kind}{family}")
        return found

    @property
    def known(self) -> int:
        """The bit that marks a known host between two rulesets: 0x10000000, or the next one that is not in use.

        Raises ValueError where the other marks have all bits.
        """
        used = (self.verdict_mark or (0, 0))[0] | (self.refuse_mark[0] if self.reset else 0)
        bits: list[int] = [1 << place for place in (*range(28, -1, -1), 29, 30, 31)]
        for bit in bits:
            if not bit & used:
                return bit
        raise ValueError("verdict-mark and refuse-mark leave no bit for the mark of known hosts")

    def grown(self, size: int) -> int:
        """A set's size in the files, `size`, for so many entries; never smaller, since no kernel lets a set shrink."""
        return size + max(0, 2 * (self.entries - SIZED_FOR))
