"""A sender that does what the mail standard asks: it tries each address of the MX records in order of preference.

RFC 5321, 5.1: the next address is tried when one cannot be reached; only when none can, the message waits in the queue.
"""
import smtplib
import socket
from dataclasses import dataclass
from email.message import EmailMessage

from lab.hosts import Attempt, Host

PORT = 25


@dataclass(frozen=True)
class Try:
    """One address tried: what became of the SYN, and whether the server took the message."""

    address: str
    attempt: Attempt
    delivered: bool = False


def deliver(host: Host, addresses: list[str], message: EmailMessage, connect_timeout: float = 0.6) -> list[Try]:
    """Deliver a message from `host`, trying the addresses in order; what was tried, up to the delivery."""
    tries = []
    for address in addresses:
        attempt, client = _connect(host, address, connect_timeout)
        if client is None:
            tries.append(Try(address, attempt))
            continue
        with client:
            _speak(client, message)
        tries.append(Try(address, attempt, delivered=True))
        break
    return tries


def _connect(host: Host, address: str, timeout: float) -> tuple[Attempt, socket.socket | None]:
    client = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect((address, PORT))
    except OSError as error:
        client.close()
        return (Attempt.REFUSED if isinstance(error, ConnectionRefusedError) else Attempt.DROPPED), None
    client.settimeout(10)
    return Attempt.CONNECTED, client


class _Connected(smtplib.SMTP):
    """smtplib over a connection that exists: it was made inside another host."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        super().__init__("mx", PORT, local_hostname="sender.example.net")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._client


def _speak(client: socket.socket, message: EmailMessage) -> None:
    with _Connected(client) as session:
        session.send_message(message)
