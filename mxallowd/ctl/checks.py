"""Arguments that are checked before the daemon is asked, so that a mistake is one of the command line (status 2)."""
import argparse
import socket

from mxallowd.text import quoted

MAX_SECONDS = 315_360_000  # as --whitelist-time


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address, without a zone."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def network_problem(text: str) -> str:
    """Why this is no network, "" if it is one."""
    import ipaddress  # noqa: PLC0415  # it takes its time, and most arguments are addresses

    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            wider = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return f"{quoted(text)} is not a network"
        return f"{quoted(text)} has bits behind its prefix; the network is {wider}"
    return ""


def address(text: str) -> str:
    """An argument that is an address."""
    if not is_address(text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not an IPv4 or IPv6 address")
    return text


def target(text: str) -> str:
    """An argument that is an address or a network."""
    if "/" in text:
        problem = network_problem(text)
        if problem:
            raise argparse.ArgumentTypeError(problem)
    elif not is_address(text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is neither an address nor a network")
    return text


def gateway(text: str) -> str:
    """An argument that is the name of a gateway."""
    from mxallowd.settings.fleet import origin  # noqa: PLC0415  # it takes its time

    try:
        return origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)} {error}") from None


def given(text: str) -> str:
    """An argument that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def number(text: str, most: int) -> int:
    """An argument that is a number from 1 to `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from 1 to {most}")
    return int(text)


def seconds(text: str) -> int:
    """An argument that is a number of seconds."""
    return number(text, MAX_SECONDS)


def note(text: str) -> str:
    """An argument that is a note: the daemon takes one line of at most 200 printable characters."""
    if len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not one line of at most 200 printable characters")
    return text
