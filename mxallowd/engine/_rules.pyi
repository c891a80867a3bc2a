from collections.abc import Mapping, Sequence
from typing import Final, final

from mxallowd.engine._meetings import Meetings
from mxallowd.engine._networks import Networks
from mxallowd.engine._patience import Patience

RENEW: Final[Mapping[str, int]]
"""What restarts the time of an entry that has lost an eighth of it, by the words of the option `renew`."""

@final
class Rules:
    """The servers and the lifetime of an entry, compiled; never changed once made."""

    def __new__(
        cls, fake: Sequence[bytes], real: Sequence[bytes], lifetime_s: int, numbers: Mapping[bytes, int] | None = None,
        *, renew: int = 0, networks: Networks | None = None, patience: Patience | None = None,
        patience_times: int = 0, patience_us: int = 0, patience_networks: bool = False, asks: bool = False,
        meetings: Meetings | None = None, renewed_after_us: int = 0, tells_contacts: bool = False,
    ) -> Rules:
        """Addresses are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2).

        `numbers` are those of Refused.number_of, by address; 255 where one is missing. `renew` is one of RENEW;
        `networks` are those of the lists. With `patience`, who was refused `patience_times` times, each `patience_us`
        after the one before, comes in, or with `patience_networks` his network does. `asks`: where a refusal is told, a
        name is asked for by which the host may come in, so its next SYN may be accepted. With `meetings`, a contact
        lets its network in. `renewed_after_us`: so much of its time an entry has to lose before it is restarted, 0 for
        an eighth; not more than the lifetime. `tells_contacts`: a contact that renews nothing is told once a minute.
        Raises ValueError on an address of another length, refusals that cannot be counted, a lifetime outside 1 to
        2**29 seconds, or a number outside 0 to 255.
        """

    meetings: Meetings | None
    networks: Networks | None
    patience: Patience | None
