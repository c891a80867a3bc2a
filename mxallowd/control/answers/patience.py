"""What explain and status tell of --patience: who waits for it, and what the next refusal comes to."""
from ipaddress import ip_network

from mxallowd.control.exchange import timestamp
from mxallowd.engine._patience import Patience, Waits
from mxallowd.engine.events import MAPPED, address_text
from mxallowd.settings import Settings

DAY_US = 86_400_000_000


def counting(waits: Waits, now_us: int) -> tuple[int, int] | None:
    """How many refusals count now, and when the last of them was (as _patience has it); None: none does any more."""
    if now_us - waits.first_us <= DAY_US:
        return waits.times, waits.counted_us
    if waits.times > 1 and now_us - waits.counted_us <= DAY_US:
        return 1, waits.counted_us
    return (1, waits.last_us) if now_us - waits.last_us <= DAY_US else None


def of_host(
    patience: Patience | None, settings: Settings, host: bytes, now_us: int, now_s: float,
) -> dict[str, object] | None:
    """What the refusals of a host, or of its network, come to; None: none counts, or nobody has patience.

    `next` is from when on a further one counts: None where there are enough of them, so that its next SYN is let in.
    """
    if patience is None or settings.patience is None:
        return None
    waits = patience.find(host, networks=settings.patience_network)
    found = None if waits is None else counting(waits, now_us)
    if found is None:
        return None
    times, counted_us = found
    wanted, seconds = settings.patience
    next_s = now_s + (counted_us - now_us) / 1_000_000 + seconds
    return {"times": times, "of": wanted, "network": _network(host) if settings.patience_network else None,
            "next": None if times >= wanted else timestamp(next_s), "due": next_s <= now_s or times >= wanted}


def fill(patience: Patience | None, settings: Settings) -> dict[str, int] | None:
    """How many wait, and for how many there is room; None: nobody has patience."""
    if patience is None or settings.patience is None:
        return None
    return {"hosts": len(patience), "room": patience.max_hosts}


def _network(host: bytes) -> str:
    return str(ip_network(f"{address_text(host)}/{24 if host.startswith(MAPPED) else 64}", strict=False))
