"""The two servers: both families on both, addresses and listeners here, connections to what is elsewhere.

Of an address of this host the listeners count: a connect to oneself comes by lo, meets other rules, and says nothing.
"""
import errno
import socket
from collections.abc import Iterator

from mxallowd import surroundings
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding
from mxallowd.settings.values import Address

SMTP = 25
TIMEOUT_S = 3.0


def check(facts: Facts) -> list[Finding]:
    """All of it."""
    return [*_families(facts), *(finding for one in facts.fake for finding in _fake(one)),
            *(finding for one in facts.real for finding in _real(one))]


def _families(facts: Facts) -> Iterator[Finding]:
    fake, real = ({one.version for one in servers} for servers in (facts.fake, facts.real))
    if fake == real:
        yield Finding("families", OK, "both servers have the same families of addresses")
    for version in sorted(fake ^ real):
        lacks, has = ("fake", "real") if version in real else ("real", "fake")
        yield Finding(
            "families", BROKEN if lacks == "fake" else WARNING,
            f"the {has} server has an IPv{version} address, the {lacks} one has none",
            "a sender that uses it cannot meet the fake server, and is refused for ever" if lacks == "fake" else
            "a sender that met the fake server there has to change the family, and has another address",
            f"mxallowd --check -{lacks[0]} ADDRESS  # give the {lacks} server an IPv{version} address, in the MX "
            "record's name and the configuration")


def _fake(server: Address) -> Iterator[Finding]:
    if surroundings.is_here(server) is False:
        yield from _elsewhere(server, "fake")
        return
    places = surroundings.listening(server, surroundings.listeners())
    if places:
        yield Finding(
            "fake-refuses", BROKEN, f"something listens at {places[0]}, port {SMTP} of the fake address {server}",
            "a sender is not rejected there, delivers to it or waits, and never comes to the real server",
            f"ss -ltnp 'sport = :{SMTP}'  # let that program listen at the real address alone (postfix: "
            "inet_interfaces, exim: local_interfaces)")
    else:
        yield Finding("fake-refuses", OK, f"nothing listens at the fake address {server}: the kernel answers with RST")


def _real(server: Address) -> Iterator[Finding]:
    if surroundings.is_here(server) is False:
        yield from _elsewhere(server, "real")
    elif surroundings.listening(server, surroundings.listeners()):
        yield Finding("real-answers", OK, f"a mail server listens at the real address {server}")
    else:
        yield Finding(
            "real-answers", BROKEN, f"nothing listens at port {SMTP} of the real address {server}",
            "nobody can deliver mail", "systemctl restart postfix  # or whichever mail server it is")


def _elsewhere(server: Address, role: str) -> Iterator[Finding]:
    if not surroundings.forwards():
        yield Finding(
            f"{role}-here", BROKEN, f"{server} is no address of this host, which forwards nothing",
            "no packet to it comes here",
            f"ip address add {server}/{32 if server.version == 4 else 128} dev lo  # or correct the configuration")
        return
    answer = connect(server)
    wanted = errno.ECONNREFUSED if role == "fake" else 0
    if answer == wanted:
        yield Finding("fake-refuses" if role == "fake" else "real-answers", OK,
                      f"{server} {'refuses' if role == 'fake' else 'answers'} a connection from here")
        return
    said = "answers" if not answer else "refuses with RST" if answer == errno.ECONNREFUSED else "does not answer"
    yield Finding(
        "fake-refuses" if role == "fake" else "real-answers", BROKEN, f"the {role} address {server} {said} from here",
        "senders that get no RST wait for minutes, or stay there" if role == "fake" else "nobody can deliver mail",
        f"nc -vz -w 3 {server} {SMTP}")


def connect(server: Address) -> int:
    """What becomes of a connection to it: 0, or the error number."""
    family = socket.AF_INET6 if server.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(TIMEOUT_S)
            one.connect((str(server), SMTP))
    except OSError as error:
        return error.errno or errno.ETIMEDOUT
    return 0
