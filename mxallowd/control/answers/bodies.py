"""What a request brings with it, checked: addresses, networks, seconds, notes. Each fault quotes what was sent."""
import ipaddress
from collections.abc import Collection, Mapping

from mxallowd.control.exchange import Request, RequestError
from mxallowd.engine.events import packed
from mxallowd.provenance import MAX_TEXT
from mxallowd.settings.values import Network
from mxallowd.text import quoted

MAX_SECONDS = 315_360_000  # ten years, as --whitelist-time


def bad(reason: str) -> RequestError:
    """The error of a request that is not as it must be."""
    return RequestError(400, "bad-request", reason)


def no_parameters(request: Request, known: Collection[str] = ()) -> None:
    """Raise RequestError where the query has other parameters than these."""
    for name in request.query:
        if name not in known:
            raise bad(f"there is no parameter {quoted(name)} here")


def fields_of(body: object, needed: Collection[str], others: Collection[str] = ()) -> Mapping[str, object]:
    """The body, or a part of it, as an object with these keys. Raises RequestError."""
    if not isinstance(body, dict):
        raise bad(f"an object is needed, with {' and '.join(map(quoted, needed)) or 'keys'}")
    for key in body:
        if key not in needed and key not in others:
            raise bad(f"there is no key {quoted(key)} here")
    for key in needed:
        if key not in body:
            raise bad(f"the key {quoted(key)} is missing")
    return body


def host_of(text: object) -> bytes:
    """An address as the whitelist has it; an IPv4-mapped one is the IPv4 address. Raises RequestError."""
    try:
        if not isinstance(text, str) or "%" in text or len(text) > 64:
            raise ValueError
        return packed(str(ipaddress.ip_address(text)))
    except ValueError:
        raise bad(f"{_shown(text)} is not an IPv4 or IPv6 address") from None


def network_of(text: object) -> Network:
    """A network, or an address as a network of one; without bits behind its prefix. Raises RequestError."""
    if not isinstance(text, str) or "%" in text or len(text) > 64:
        raise bad(f"{_shown(text)} is not a network")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits set" in str(error):
            raise bad(f"{quoted(text)} has bits behind its prefix; the network is "
                      f"{ipaddress.ip_network(text, strict=False)}") from None
        raise bad(f"{quoted(text)} is not a network") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        # What packets carry is the IPv4 address (RFC 4291, 2.5.5.2).
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return ipaddress.IPv4Network((inner, network.prefixlen - 96))
    return network


def seconds_of(value: object, default: int) -> int:
    """A number of seconds; None: `default`. Raises RequestError."""
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has numbers of one kind only
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SECONDS:
        raise bad(f"seconds {_shown(value)} is not a whole number from 1 to {MAX_SECONDS}")
    return value


def number_of(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query, `default` where there is none. Raises RequestError."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise bad(f"{name} {quoted(text)} is not a number from {least} to {most}")
    return int(text)


def note_of(value: object) -> str:
    """A note; None: an empty one. Raises RequestError where it is no line of printable text of MAX_TEXT at most."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise bad(f"note {_shown(value)} is not one line of at most {MAX_TEXT} printable characters")
    return value


def _shown(value: object) -> str:
    return quoted(value if isinstance(value, str) else repr(value)[:200])
