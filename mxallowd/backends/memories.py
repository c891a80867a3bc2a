"""What all back ends share: the whitelist, the memory of refused hosts, and the decisions over them.

Both are cut into shards, one for each thread that decides; the whitelist has one more, which the main thread writes.
With --fleet that one has as many places again as all others, for what other gateways tell.
All of their memory is taken here, at the start, or the start fails.
"""
from mxallowd._fastpath import Fastpath
from mxallowd.engine._meetings import NETWORK_BYTES, Meetings
from mxallowd.engine._networks import Networks
from mxallowd.engine._patience import HOST_BYTES as WAITING_BYTES
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import HOST_BYTES, Refused
from mxallowd.engine._ring import EVENT_SIZE, Ring
from mxallowd.engine._rules import RENEW, Rules
from mxallowd.engine._table import Table, table_bytes
from mxallowd.engine.events import packed
from mxallowd.errors import StartError
from mxallowd.process import memory
from mxallowd.settings import Settings

RING_EVENTS = 8192  # in each ring
CONTACT_HOSTS = 16_384  # listed hosts that meet a fake server again and never a real one, as far as they are remembered
# What is taken besides by each queue thread, and by the guard, the log and all the rest until a flood is over.
THREAD_BYTES, OTHER_BYTES = 256 << 10, 20 << 20
# For one in so many entries of `max-entries` the main thread has one more: it lets hosts in by their names, mostly.
RELOADED_HOSTS = 262_144  # that may wait where --patience comes by a reload: 8.5 MiB, taken in 1.2 ms
LISTED_HOSTS = 16_384  # hosts of lists whose lines of the log are summed up
MAIN_SHARE, MAIN_SHARE_WITHOUT_NAMES = 4, 16


class Memories:
    """Whitelist and refused hosts, for so many threads that decide."""

    def __init__(self, settings: Settings, threads: int) -> None:
        """Raises StartError."""
        told = settings.max_entries if settings.fleet else 0
        what = f"max-entries {settings.max_entries}{' (twice, for fleet)' if told else ''} and " \
               f"max-refused {settings.max_refused}"
        # Besides: a newcomer who contacts the fake server never competes with hosts that were let in otherwise.
        main = settings.max_entries // (MAIN_SHARE_WITHOUT_NAMES if settings.no_rdns_whitelist else MAIN_SHARE)
        main += told
        entries = settings.max_entries + main
        refused = settings.max_refused + LISTED_HOSTS + CONTACT_HOSTS
        waiting = settings.max_refused if settings.patience else 0
        key = settings.network_key
        memory.require(table_bytes(entries, told, main) + refused * HOST_BYTES + waiting * WAITING_BYTES
                       + (settings.max_entries * NETWORK_BYTES if key else 0)
                       + threads * (RING_EVENTS * EVENT_SIZE + THREAD_BYTES) + OTHER_BYTES, what)
        try:
            self.table = Table(entries, threads, main=main, told=told)
            self.refused = Refused(settings.max_refused, threads, self.table)
            self.listed = Refused(LISTED_HOSTS, threads, self.table)
            self.contacts = Refused(CONTACT_HOSTS, threads, self.table)
            self.patience = Patience(settings.max_refused, threads, self.table) if settings.patience else None
            self.meetings = Meetings(settings.max_entries, *key) if key else None
        except MemoryError as error:
            raise StartError(f"{what}: {error}") from None
        self.networks: Networks | None = None
        self.rules = self.compile(settings)

    def compile(self, settings: Settings) -> Rules:
        """What the packet path needs of the settings."""
        fake = [packed(str(server)) for server in settings.fake_mailserver]
        real = [packed(str(server)) for server in settings.real_mailserver]
        numbers = {server: self.refused.number_of(server) for server in real}
        # Both memories know a server by the same number.
        for server in self.refused.servers[len(self.listed.servers) :]:
            self.listed.number_of(server)
        if settings.patience and self.patience is None:
            self.patience = Patience(min(settings.max_refused, RELOADED_HOSTS), self.refused.shard_count, self.table)
        times, seconds = settings.patience or (0, 0)
        return Rules(
            fake, real, settings.whitelist_time, numbers, renew=RENEW[settings.renew], networks=self.networks,
            meetings=self.meetings, patience=self.patience if settings.patience else None, patience_times=times,
            patience_us=seconds * 1_000_000, patience_networks=settings.patience_network,
            asks=settings.trust is not None or settings.pool_domain, renewed_after_us=settings.renewed_after_us,
            tells_contacts=settings.tells_contacts)

    def decision(self, shard: int, wake_fd: int, queue: int = 0) -> Fastpath:
        """The decision for the thread that writes `shard` of both; its ring wakes `wake_fd`."""
        return Fastpath(
            self.table, Ring(RING_EVENTS, wake_fd), self.rules, shard=shard, queue=queue, refused=self.refused,
            listed=self.listed, contacts=self.contacts)
