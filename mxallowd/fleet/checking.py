"""The files of the fleet, read for `mxallowd --check` as a start reads them; nobody is asked over the network."""
from importlib import import_module

from mxallowd.errors import StartError
from mxallowd.fleet import keys, login
from mxallowd.fleet.opening import tls_context
from mxallowd.lists.files import Fault, ListError
from mxallowd.settings import Settings
from mxallowd.text import printable

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
