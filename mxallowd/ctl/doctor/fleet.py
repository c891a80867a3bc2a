"""The fleet (`--fleet`): the engine as this process reaches it and as the daemon does, and each other gateway."""
import asyncio
import shlex
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mxallowd.ctl.doctor import fleettold
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.fleettold import ALONE, THERE
from mxallowd.errors import MxallowdError
from mxallowd.settings.fleet import CLI, Engine, engine
from mxallowd.text import printable

LONGEST_S = 8.0  # of all that the engine is asked
AHEAD_MS = 60_000  # of the engine's clock, which no ID of its own is
APART_S = 300.0  # of clocks; from there on a gateway signs with the engine's time
LARGEST = 2**64 - 1
# By the word of the engine's error.
MENDS = {
    "import": "apt-get install python3-redis  # of Debian 13; else pip install 'redis[hiredis]>=6.0' where mxallowd is",
    "NOAUTH": "mxallowd --check  # once fleet-login-file names a file with user and password",
    "NOPERM": f"{CLI} acl list  # {THERE}, which has the rights that a gateway needs",
    "OOM": f"{CLI} info memory  # {THERE}; raise its maxmemory",
}


class Seen(NamedTuple):
    """What the engine said to this process."""

    master: bool
    policy: str
    ahead_ms: int  # the last ID of the stream before the engine's clock
    largest: bool  # the last ID is the last that can be
    apart_s: float  # the engine's clock before this host's


class Failed(NamedTuple):
    """What it did not say, and why."""

    reason: str
    code: str  # of the engine's error; empty: there is no connection
    unseen: bool = False  # this user may not read what it takes to ask


def check(facts: Facts) -> Iterator[Finding]:
    """All of it; nothing where the option is not given."""
    told = facts.settings.get("fleet")
    if not told:
        return
    seen = look(told)
    daemon = facts.daemon.get("fleet") if facts.daemon else None
    wrong = list(_engine(told, seen)) if isinstance(seen, Seen) else []
    # What is seen to be broken is why the daemon cannot use it.
    if not any(one.state == BROKEN for one in wrong):
        yield from _reached(told, seen, daemon)
    yield from wrong
    if daemon:
        yield from fleettold.names(daemon, str(facts.settings["config"]))
        yield from fleettold.peers(daemon)


def look(told: Mapping[str, Any]) -> Seen | Failed:
    """Ask the engine, as this process, with the files of the settings."""
    try:
        from mxallowd.fleet import link, login, opening  # noqa: PLC0415  # the client is an extra
    except ImportError as error:
        return Failed(f"its client cannot be imported: {error}", "import")
    files = {key: None if told[key] is None else Path(told[key])
             for key in ("login_file", "ca_file", "cert_file", "cert_key_file")}
    where = engine(str(told["engine"]))

    async def ask() -> Seen:
        given = login.read(files["login_file"]) if files["login_file"] else login.Logins()
        tls = opening.tls_context(files["ca_file"], files["cert_file"], files["cert_key_file"]) if where.tls else None
        ways = opening.ways(where, tls, _addresses)
        way = await link.find_master(ways, where.master, given.sentinels) if where.master else ways[0]
        one = link.Link(way, given.engine, database=where.database)
        try:
            await one.open()
            about, us = await one.about(), await one.time_us()
            last = (await one.stream(_key(told))).last
        finally:
            one.close()
        return Seen(about.master, about.policy, last.ms - us // 1000, last.ms == LARGEST, us / 1e6 - time.time())

    try:
        return asyncio.run(asyncio.wait_for(ask(), LONGEST_S))
    except MxallowdError as error:
        unseen = "Permission denied" in str(error)
        return Failed(str(error), getattr(error, "code", ""), unseen)
    except TimeoutError:
        return Failed(f"{where}: no answer within {LONGEST_S:g} s", "")


async def _addresses(host: str) -> Sequence[str]:
    from mxallowd.fleet.opening import LinkError  # noqa: PLC0415

    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LinkError(f"the name {host} has no address: {printable(str(error.strerror))}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _key(told: Mapping[str, Any]) -> str:
    return f"mxallowd:{told['site']}:log"


def _reached(told: Mapping[str, Any], seen: Seen | Failed, daemon: Mapping[str, Any] | None) -> Iterator[Finding]:
    where = told["engine"]
    if isinstance(seen, Failed) and seen.unseen:
        yield Finding("fleet-engine", WARNING, f"this user cannot ask the engine {where}: {seen.reason}",
                      "whether it can be reached from this host is not known", AS_ROOT)
        if daemon and not daemon["connected"]:
            yield Finding("fleet-daemon", BROKEN, f"mxallowd cannot use the engine: {daemon['fault']}", ALONE, AS_ROOT)
    elif isinstance(seen, Failed) and daemon and daemon["connected"]:
        yield Finding(
            "fleet-engine", WARNING, f"mxallowd is connected to its engine, and this command cannot use {where}: "
            f"{seen.reason}", "mxallowd may not come back once it loses this connection",
            _mend(seen, told, engine(where)))
    elif isinstance(seen, Failed):
        yield Finding("fleet-engine", BROKEN, f"the engine {where} cannot be used from this host: {seen.reason}", ALONE,
                      _mend(seen, told, engine(where)))
    elif daemon and not daemon["connected"]:
        remedy = f"  # {daemon['remedy']}" if daemon["remedy"] else ""
        yield Finding(
            "fleet-daemon", BROKEN, f"the engine {where} answers this command, and mxallowd cannot use it: "
            f"{daemon['fault'] or 'it has not reached it yet'}", ALONE, f"journalctl -t mxallowd -g fleet-{remedy}")
    elif daemon:
        yield Finding("fleet-engine", OK, f"the engine {where} answers, and mxallowd had its last answer "
                      f"{daemon['read_seconds'] or 0} s ago")
    else:
        yield Finding("fleet-engine", OK, f"the engine {where} answers")


def _mend(failed: Failed, told: Mapping[str, Any], where: Engine) -> str:
    """The command that mends it, or shows what does."""
    if failed.code in ("WRONGPASS", "NOAUTH") and told["login_file"]:
        return f"mxallowctl reload  # once {shlex.quote(told['login_file'])} has the right user and password"
    if failed.code:
        return MENDS.get(failed.code, f"{CLI} info  # {THERE}")
    if where.socket is not None:
        return f"ls -l {shlex.quote(str(where.socket))}; systemctl restart redis-server"
    return _mend_way(failed.reason, where)


def _mend_way(reason: str, where: Engine) -> str:
    """The same where there is no connection by TCP."""
    host, port = where.hosts[0]
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    reached = f"nc -vz -w 3 {host} {port}  # "
    if "the name " in reason:
        return f"getent ahosts {host}  # mend the name in fleet, /etc/hosts, or the name server"
    if "certificate required" in reason:
        return "mxallowd --check  # once fleet-cert-file names a certificate of an authority that the engine trusts"
    if "certificate" in reason or "TLS" in reason:
        return (f"openssl s_client -connect {shown} </dev/null | openssl x509 -noout -subject -issuer -dates  # its "
                "issuer belongs into fleet-ca-file")
    if not where.tls and ("reset by peer" in reason or "closed by" in reason):
        return f"openssl s_client -connect {shown} </dev/null  # a certificate: it has TLS there, so fleet is rediss"
    if where.tls and "no connection within" in reason:
        return (f"{reached}no answer: the way there, or a firewall; it succeeds: no TLS there (tls-port of redis.conf, "
                "or redis in fleet)")
    return f"{reached}refused: start redis-server there; no answer: the way there, or a firewall"


def _engine(told: Mapping[str, Any], seen: Seen) -> Iterator[Finding]:
    """What is wrong with an engine that answers."""
    if not seen.master:
        yield Finding(
            "fleet-replica", BROKEN, f"the engine {told['engine']} is a replica, which takes no entries",
            "what this gateway lets in is refused at the others",
            f"{CLI} info replication  # {THERE}: name the master there in fleet, or its Sentinels")
    if seen.policy and seen.policy != "noeviction":
        yield Finding(
            "fleet-policy", WARNING, f"the engine throws away what it has when its memory is full ({seen.policy})",
            "the whole stream of the site goes at once",
            f"{CLI} config set maxmemory-policy noeviction  # {THERE}, and the same in its redis.conf")
    if seen.ahead_ms > AHEAD_MS:
        yield Finding(
            "fleet-stream", BROKEN if seen.largest else WARNING, "the last ID of the stream " + (
                "is the largest that can be: nothing can be added any more" if seen.largest else
                f"is {seen.ahead_ms // 1000} s ahead of the engine's clock"),
            ("gateways hear nothing new; somebody wrote it who may write to the engine" if seen.largest else
             "entries come through, and new gateways take them for younger than they are; the engine's clock went "
             "back, or somebody wrote it who may write to the engine"),
            f"{CLI} del {shlex.quote(_key(told))}  # {THERE}; the gateways say all of their entries again")
    if abs(seen.apart_s) > APART_S:
        yield Finding(
            "fleet-clock", WARNING, f"this host's clock is {abs(seen.apart_s):.0f} s "
            f"{'behind' if seen.apart_s > 0 else 'ahead of'} the engine's",
            "what this gateway says is signed with the engine's time; one of the two clocks is wrong",
            "timedatectl  # here, then on the engine's host: timedatectl set-ntp true where it is wrong")
