"""The fleet in the daemon, where `--fleet` names an engine: its files, its member, and what a reload does.

Key, login and certificates are read at the start, with the rights of then; key and login once more at each reload, with
those of the daemon's user or of the broker of the sandbox. What cannot be read then stays as it was.
"""
import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mxallowd.backends import Backends
from mxallowd.daemon.fleetremovals import Removals
from mxallowd.daemon.losses import defect
from mxallowd.daemon.trusted import Trusting
from mxallowd.dns import hostsfile
from mxallowd.engine._table import TRUSTED
from mxallowd.errors import StartError
from mxallowd.lists.beside import beside
from mxallowd.lists.files import ListError
from mxallowd.settings import Settings
from mxallowd.settings.fleet import own_origin
from mxallowd.sinks.hostlog import HostLog
from mxallowd.whitelist import Whitelist

if TYPE_CHECKING:
    # They need the client of the engine, which only who has a fleet has.
    from mxallowd.daemon.fleetnames import Names
    from mxallowd.fleet.member import Member

Content = TypeVar("Content")


def secrets(settings: Settings) -> list[Path]:
    """What a reload reads again."""
    return [path for path in (settings.fleet_key_file, settings.fleet_login_file) if settings.fleet and path]


def files(settings: Settings) -> list[Path]:
    """What is read again: by a reload, and to find the engine."""
    return [*secrets(settings), hostsfile.HOSTS] if settings.fleet else []


def sockets(settings: Settings) -> list[str]:
    """UNIX sockets that the broker of the sandbox connects to."""
    return [str(settings.fleet.socket)] if settings.fleet and settings.fleet.socket else []


class Fleet:
    """This gateway in its fleet."""

    def __init__(self, settings: Settings, backend: Backends, whitelist: Whitelist, hostlog: HostLog) -> None:
        """Raises StartError."""
        self.settings = settings
        """Those in force."""
        self._backend = backend
        self._whitelist = whitelist
        self._log = hostlog.log
        self._removals = Removals(hostlog)
        self._names: Names | None = None
        self._member: Member | None = None
        self._reading: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        self.faults: dict[str, str] = {}
        """By file, of the last reading: FILE:LINE: reason."""
        self.changed: list[str] = []
        """Options whose files had something else at the last reading."""

    # ---- the start

    def open(self) -> None:
        """Read its files. Raises StartError."""
        from mxallowd.daemon.fleetnames import Names  # noqa: PLC0415  # as above
        from mxallowd.fleet import keys, login, member, opening  # noqa: PLC0415

        settings = self.settings
        engine = settings.fleet
        assert engine is not None
        assert settings.fleet_site is not None
        assert settings.fleet_key_file is not None
        try:
            site_keys = keys.read(settings.fleet_key_file, settings.fleet_site, as_we_are=True)
            logins = login.read(settings.fleet_login_file, as_we_are=True) if settings.fleet_login_file else None
        except ListError as error:
            raise StartError(str(error)) from None
        tls = opening.tls_context(settings.fleet_ca_file, settings.fleet_cert_file, settings.fleet_cert_key_file
                                  ) if engine.tls else None
        if engine.master or not all(hostsfile.is_address(host) for host, _ in engine.hosts):
            self._names = Names(settings, self._log)
        site = member.Site(engine, settings.fleet_site, settings.fleet_origin or own_origin(),
                           opening.ways(engine, tls, self._names.addresses if self._names else opening.literal))
        self._member = member.Member(
            site, site_keys, logins or login.Logins(), whitelist=self._whitelist, table=self._backend.table,
            longest_s=settings.longest_time, told_room=settings.max_entries, defect=defect, log=self._log)
        self._member.hearing.removed, self._member.hearing.flushed = self._removals.removed, self._removals.flushed
        self._member.follow()

    async def start(self, ending: asyncio.Event) -> None:
        """Connect and load; returns once that is complete, after some seconds, or when `ending` is set."""
        assert self._member is not None
        await self._member.start(ending)

    # ---- afterwards

    def reload(self, settings: Settings) -> None:
        """Read key and login again, soon."""
        self.settings = settings
        if self._names is not None:
            self._names.reload(settings)
        self._reading = asyncio.get_running_loop().create_task(self._read_again(settings))

    async def settled(self) -> list[str]:
        """FILE:LINE: reason of each file that keeps what it had, once the last reload has ended."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return list(self.faults.values())

    async def _read_again(self, settings: Settings) -> None:
        from mxallowd.fleet import keys, login  # noqa: PLC0415  # they are there

        assert self._member is not None
        assert settings.fleet_key_file is not None
        assert settings.fleet_site is not None
        # One after the other, so that the newest content holds in the end.
        async with self._busy:
            self.faults, self.changed = {}, []
            site_keys = await self._read(partial(keys.read, settings.fleet_key_file, settings.fleet_site))
            path = settings.fleet_login_file
            logins = await self._read(partial(login.read, path)) if path else None
            self.changed = self._member.reload(site_keys, logins, settings.longest_time)

    async def _read(self, read: Callable[[], Content]) -> Content | None:
        try:
            return await beside(read)
        except ListError as error:
            where, reason, _ = error.faults[0]
            self.faults[where] = f"{where}: {reason}"
            self._log.error("list-failed", where=where, reason=reason)
        except (StartError, MemoryError) as error:
            reason = str(error) or "there is not enough memory"
            self.faults["fleet"] = reason
            self._log.error("list-failed", where="fleet", reason=reason)
        return None

    def tick(self) -> None:
        """Called about once a second."""
        if self._names is not None:
            self._names.tick()
        if self._member is not None:
            self._member.tick()
        self._removals.tick()

    def close(self) -> None:
        """Leave the fleet."""
        if self._reading is not None:
            self._reading.cancel()
        if self._member is not None:
            self._member.close()
        if self._names is not None:
            self._names.close()

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return self._member.counters() if self._member is not None else {}

    def removed(self, host: bytes) -> tuple[str, float] | None:
        """Which gateway has removed a host, and when; None: that is not known."""
        return self._removals.find(host)

    def status(self) -> Mapping[str, object]:
        """All that an operator may want to know (control/answers/fleet.py)."""
        assert self._member is not None
        return self._member.status()


def create_fleet(
    settings: Settings, backend: Backends, whitelist: Whitelist, hostlog: HostLog, trusted: Sequence[Trusting],
) -> list[Fleet]:
    """One where it is wanted; none in a rehearsal, since nothing that a capture file shows is true today.

    Raises StartError.
    """
    if settings.fleet is None or (settings.pflog_interface or "").startswith("file:"):
        return []
    from mxallowd.fleet import checking  # noqa: PLC0415  # as above

    if lacking := checking.no_client():
        raise StartError(lacking)
    made = [Fleet(settings, backend, whitelist, hostlog)]
    share_trusted(trusted, whitelist, lambda: made[0].settings)
    return made


def share_trusted(trusted: Sequence[Trusting], whitelist: Whitelist, settings: Callable[[], Settings]) -> None:
    """Let whoever comes in by a trusted name have an entry as well, so that the others are told of him."""

    def enter(host: bytes, name: str) -> None:
        now_us = whitelist.now_us()
        until_us = now_us + 1_000_000 * settings().whitelist_time
        if not whitelist.admit(host, until_us, now_us, origin=TRUSTED, note=name):
            whitelist.renew(host, until_us, now_us)

    for one in trusted:
        one.share(enter)
