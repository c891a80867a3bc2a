"""The files of the fleet, read for `mxallowd --check` as a start reads them; nobody is asked over the network."""
import os
import stat
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.fleet import keys, login
from mxallowd.fleet.opening import tls_context
from mxallowd.lists.files import Fault, ListError
from mxallowd.process.privileges import Account, account_of
from mxallowd.settings import Settings
from mxallowd.text import printable, quoted

NO_CLIENT = ("fleet needs the Python package redis, 6.0 or later: pip install 'redis[hiredis]>=6.0', or "
             "python3-redis of Debian 13")


def no_client() -> str:
    """Why the client of the engine cannot be used; empty: it can. It is loaded then."""
    try:
        import_module("mxallowd.fleet.link")
    except ImportError as error:
        return f"{NO_CLIENT} ({printable(str(error))})"
    return ""


def problems(settings: Settings) -> list[Fault]:
    """What is wrong with the keys, the login and the certificates of --fleet; none without it."""
    engine = settings.fleet
    if engine is None or settings.fleet_site is None or settings.fleet_key_file is None:
        return []
    faults: list[Fault] = []
    if lacking := no_client():
        faults.append(Fault("system", lacking))
    try:
        keys.read(settings.fleet_key_file, settings.fleet_site, as_we_are=True)
    except ListError as error:
        faults += error.faults
    if settings.fleet_login_file is not None:
        try:
            login.read(settings.fleet_login_file, as_we_are=True)
        except ListError as error:
            faults += error.faults
    if engine.tls:
        try:
            tls_context(settings.fleet_ca_file, settings.fleet_cert_file, settings.fleet_cert_key_file)
        except StartError as error:
            faults.append(Fault("settings", str(error)))
    return faults


def warnings(settings: Settings) -> list[str]:
    """What may be wrong with them: an engine that is not there now may come, and a reload has other rights."""
    if settings.fleet is None:
        return []
    found = []
    if (path := settings.fleet.socket) is not None and not path.is_socket():
        found.append(f"fleet: {quoted(str(path))} is no socket" if path.exists() else
                     f"fleet: there is no socket {quoted(str(path))} now; the engine makes it")
    try:
        account = account_of(settings.user)
    except StartError:
        # It is said of the user.
        return found
    for file in (settings.fleet_key_file, settings.fleet_login_file):
        if file is not None and account is not None and not _may_read(file, account):
            found.append(f"{quoted(str(file))} cannot be read by {account.name}, as whom a reload reads it: chgrp "
                         f"{account.group} {quoted(str(file))}; chmod 640 {quoted(str(file))}")
    return found


def _may_read(file: Path, account: Account) -> bool:
    """Whether its mode lets a user read it; what cannot be looked at is said elsewhere."""
    try:
        status = file.stat()
    except OSError:
        return True
    if status.st_uid == account.user:
        return bool(status.st_mode & stat.S_IRUSR)
    groups = {account.group}
    with suppress(KeyError, OSError):
        groups |= set(os.getgrouplist(account.name, account.group))
    return bool(status.st_mode & (stat.S_IRGRP if status.st_gid in groups else stat.S_IROTH))
