"""Values of options: converters from the text of a value to its meaning.

Each raises ValueError with a text that says what was expected. Its caller quotes the input and says where it stood.
"""
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

MAX_QUEUES = 64
BROADCAST = ipaddress.IPv4Address("255.255.255.255")
# The kernel takes up to 15 bytes; slash and blank never stand in a name.
INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
MAX_INTERFACE_NAME = 15  # linux/if.h, IFNAMSIZ with its final zero byte
NFT_FAMILIES = ("inet", "ip", "ip6", "netdev", "bridge")
DIGITS_AND_UNIT = re.compile(r"([0-9]*)(.*)", re.DOTALL)
UNITS_S = {"m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
DAY_S = 86_400  # a refusal that is older does not count
MOST_TIMES = 15  # engine/_patience.pxd
MAX_PF_TABLE_NAME = 31  # net/pfvar.h, PF_TABLE_NAME_SIZE with its final zero byte

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _start_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:
        # It was removed under us; the background daemon goes to the root anyway.
        return Path("/")


# Remembered before the daemon leaves it.
START_DIRECTORY = _start_directory()


def address(text: str) -> Address:
    """An IPv4 or IPv6 address; an IPv4-mapped one (RFC 4291, 2.5.5.2) is the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("is not an IPv4 or IPv6 address") from None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            raise ValueError("has a zone; packets carry none, so give the address alone")
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_unspecified or parsed.is_multicast or parsed == BROADCAST:
        raise ValueError("is not an address that a host can have")
    return parsed


def number(low: int, high: int) -> Callable[[str], int]:
    """A converter for decimal numbers from `low` to `high`."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"is not a number from {low} to {high}")
        # A thousand digits are a mistake, not a number to compute with.
        value = int(text) if len(text) <= 20 else high + 1
        if not low <= value <= high:
            raise ValueError(f"is out of range: {low} to {high}")
        return value

    return convert


def seconds(low: int, high: int) -> Callable[[str], int]:
    """The same for seconds: an "s" behind the number says nothing new; of other units the seconds are told."""
    plain = number(low, high)

    def convert(text: str) -> int:
        digits, unit = DIGITS_AND_UNIT.match(text).groups()  # type: ignore[union-attr]  # it matches any text
        if digits and unit in ("s", "sec", "second", "seconds"):
            return plain(digits)
        if digits and unit in UNITS_S and len(digits) <= 10:
            raise ValueError(f"is not a number from {low} to {high}; in seconds it is {int(digits) * UNITS_S[unit]}")
        return plain(text)

    return convert


def patience(text: str) -> tuple[int, int]:
    """N/TIME as (times, seconds); the unit of TIME is s, min, h or d, and seconds without one."""
    count, wait_s = _times(text, "2/10min", 1)
    if wait_s < 1 or (count - 1) * wait_s > DAY_S:
        raise ValueError(f"cannot be: {count} refusals of one day are 1 s to {DAY_S // max(1, count - 1)} s apart")
    return count, wait_s


def attempts(text: str) -> tuple[int, int]:
    """N/TIME as (attempts, seconds in which they are made); the unit of TIME as that of patience()."""
    count, within_s = _times(text, "6/6h", 2)
    if not 1 <= within_s <= DAY_S:
        raise ValueError(f"is out of range: within 1 s to {DAY_S} s")
    return count, within_s


def _times(text: str, example: str, least: int) -> tuple[int, int]:
    times, slash, time = text.partition("/")
    digits, unit = DIGITS_AND_UNIT.match(time).groups()  # type: ignore[union-attr]  # it matches any text
    known = {"": 1, "s": 1, **UNITS_S}
    if not slash or not digits or not digits.isascii() or len(digits) > 5 or unit not in known:
        raise ValueError(f"is not N/TIME, as in {example}")
    return number(least, MOST_TIMES)(times), int(digits) * known[unit]


def direct_table(text: str) -> str:
    """A table of nft as nft_table() has it, or the word ipset."""
    return text if text == "ipset" else nft_table(text)


def network_key(text: str) -> tuple[int, int]:
    """BITS/BITS: how long the prefixes of networks are, of IPv4 and of IPv6; 32 and 128 stand for none."""
    four, slash, six = text.partition("/")
    if not slash or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in (four, six)):
        raise ValueError("is not BITS/BITS, of IPv4 and of IPv6, as in 24/64")
    if not 16 <= int(four) <= 32 or not (48 <= int(six) <= 64 or int(six) == 128):
        raise ValueError("is out of range: 16 to 32 for IPv4 and 48 to 64, or 128, for IPv6")
    return int(four), int(six)


def name_server(text: str) -> str:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; a link-local address has its zone, ADDRESS%INTERFACE.

    As c-ares takes it, which has the zone behind the port: [ADDRESS]:PORT%INTERFACE (ares_set_servers_csv).
    """
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or (rest and colon != ":"):
            raise ValueError("is neither ADDRESS nor [ADDRESS]:PORT")
    elif not colon or text.count(":") > 1:
        host, colon, port = text, "", ""
    host, percent, zone = host.partition("%")
    server = address(host)
    if percent and not (server.version == 6 and server.is_link_local):
        raise ValueError("has a zone, which only a link-local address (fe80::) needs: leave it out")
    if not percent and server.version == 6 and server.is_link_local:
        raise ValueError("is link-local, so it needs its interface: ADDRESS%INTERFACE, as in fe80::53%eth0")
    if percent and not INTERFACE.fullmatch(zone):
        raise ValueError("has a zone that is no interface: ADDRESS%INTERFACE, as in fe80::53%eth0")
    where = f"[{server}]" if server.version == 6 and (colon or percent) else str(server)
    return where + (f":{number(1, 65535)(port)}" if colon else ":53" if percent else "") + percent + zone


def listener(text: str) -> tuple[Address, int]:
    """ADDRESS:PORT or [ADDRESS]:PORT to listen at; (address, port)."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise ValueError("is neither ADDRESS:PORT nor [ADDRESS]:PORT")
    try:
        where = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError("is neither ADDRESS:PORT nor [ADDRESS]:PORT") from None
    return where, number(1, 65535)(port)


def list_source(text: str) -> Network | Path:
    """A network or an address, which is a network of one; else the path of a file."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits set" in str(error):
            network = ipaddress.ip_network(text, strict=False)
            raise ValueError(f"has bits behind its prefix; the network is {network}") from None
    if not text.startswith(("./", "../")) and re.fullmatch(r"[0-9.]+(/.*)?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(/.*)?", text):
        raise ValueError("is not a network; a file of this name is written as ./NAME")
    return path(text)


def queues(text: str) -> range:
    """One queue number, or A:B as in the firewall's --queue-balance A:B."""
    first, colon, last = text.partition(":")
    one = number(0, 65535)
    try:
        low = one(first)
        high = one(last) if colon else low
    except ValueError:
        raise ValueError("is neither a queue number from 0 to 65535 nor two of them as A:B") from None
    if high < low:
        raise ValueError("is a range that ends before it begins")
    if high - low >= MAX_QUEUES:
        raise ValueError(f"has more than {MAX_QUEUES} queues")
    return range(low, high + 1)


def mark(text: str) -> tuple[int, int]:
    """MARK or MARK/MASK of 32 bits, as iptables writes it after --mark; (value, mask)."""
    parts = []
    for part in text.split("/"):
        if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9}", part) or int(part, 0) >= 1 << 32:
            raise ValueError("is neither MARK nor MARK/MASK, each hexadecimal (0x…) or decimal, of 32 bits")
        parts.append(int(part, 0))
    if len(parts) > 2:
        raise ValueError("is neither MARK nor MARK/MASK, each hexadecimal (0x…) or decimal, of 32 bits")
    value, mask = parts[0], parts[1] if len(parts) == 2 else 0xFFFFFFFF
    if value == 0:
        raise ValueError("is the mark 0, which packets without a mark have, too")
    if value & ~mask:
        raise ValueError("has bits that its mask leaves out, so no rule can match it")
    return value, mask


def path(text: str) -> Path:
    """A path; a relative one is meant from the directory that the program was started in, at a SIGHUP too."""
    if not text or "\0" in text:
        raise ValueError("is not a path")
    return START_DIRECTORY / text


def socket_path(text: str) -> Path:
    """A path with a slash in it: "control change-group x" is another option, misspelt, and no socket of that name."""
    if "/" not in text:
        raise ValueError("is not a path with a directory; a socket in this directory is written as ./NAME")
    return path(text)


def capture(text: str) -> str:
    """What to capture from: an interface, nflog:GROUP, or file:PATH (relative as in path(); -: standard input)."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "nflog":
        return f"nflog:{number(0, 65535)(rest)}"
    if colon and kind == "file" and rest == "-":
        return text
    if colon and kind == "file":
        return f"file:{path(rest)}"
    # Names of libpcap's for other things than an interface.
    if not INTERFACE.fullmatch(text) or text in ("nflog", "nfqueue"):
        raise ValueError("is neither an interface nor nflog:GROUP nor file:PATH")
    return text


def interface(text: str) -> str:
    """The name of a network interface as the kernel takes one (net/core/dev.c, dev_valid_name)."""
    if text in (".", ".."):
        raise ValueError("is not the name of an interface: no interface may have it")
    if not text or len(text.encode("utf-8", "surrogateescape")) > MAX_INTERFACE_NAME:
        raise ValueError(f"is not the name of an interface: 1 to {MAX_INTERFACE_NAME} bytes")
    if "@" in text:
        raise ValueError(f"is not the name of an interface: ip shows NAME@OTHER, and NAME is {text.partition('@')[0]!r}"
                         if text.partition("@")[0] else "is not the name of an interface: it has an @")
    # The kernel refuses the first two. The others could not be written, or not safely, in a ruleset.
    if any(char in '/:"\\{};,*#$' or char.isspace() or not char.isprintable() for char in text):
        raise ValueError("is not the name of an interface: it has a blank, or a character that none should have")
    return text


def door(text: str) -> str:
    """An interface at whose door a chain may stand."""
    if text == "lo":
        raise ValueError("is this host itself: no mail from outside comes by it, and its own programs would be refused")
    return interface(text)


def nflog_group(text: str) -> str:
    """nflog:GROUP."""
    kind, colon, rest = text.partition(":")
    if kind != "nflog" or not colon:
        raise ValueError("is not nflog:GROUP")
    return f"nflog:{number(0, 65535)(rest)}"


def name(what: str, most: int, form: str = r"[A-Za-z_][A-Za-z0-9_.-]*") -> Callable[[str], str]:
    """A converter for names of something: `most` characters of that form."""
    pattern = re.compile(form)

    def convert(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"is not {what}")
        if len(text) > most:
            raise ValueError(f"is longer than {most} characters")
        return text

    return convert


def user(text: str) -> str:
    """The name or the number of a user; a number without zeros in front."""
    return _account(text, "a user")


def group(text: str) -> str:
    """The same of a group."""
    return _account(text, "a group")


def _account(text: str, what: str) -> str:
    if not text.isascii() or not text.isdecimal():
        return name(f"the name or number of {what}", 32, r"[A-Za-z_][A-Za-z0-9_.-]*\$?")(text)
    # The last one is none: system calls take it for "leave it as it is".
    return str(number(0, 0xFFFFFFFE)(text))


def one_of(*choices: str) -> Callable[[str], str]:
    """A converter for one of some words."""

    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is not {' or '.join(choices)}")
        return text

    return convert


def nft_table(text: str) -> str:
    """FAMILY NAME as nft writes it, one blank between; inet where the family is left out."""
    family, *more = text.split()[-2:] if len(text.split()) == 2 else ("inet", *text.split())
    if family not in NFT_FAMILIES or len(more) != 1:
        raise ValueError(f"is not a table of nft: [FAMILY] NAME, the family one of {', '.join(NFT_FAMILIES)}")
    return f"{family} {name('a table of nft', 31)(more[0])}"


def words(text: str) -> str:
    """Any text but an empty one."""
    if not text:
        raise ValueError("is empty")
    return text
