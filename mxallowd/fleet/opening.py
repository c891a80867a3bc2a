"""Ways to the engine: a socket by TCP, with or without TLS, or a UNIX socket.

Names are looked up by whoever made this, and a UNIX socket is connected by the broker of the sandbox, since neither can
be done here once the sandbox holds. Certificates are read once, at the start, with the rights of then.
"""
import asyncio
import os
import ssl
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mxallowd.errors import MxallowdError, StartError
from mxallowd.fleet.replies import Replies
from mxallowd.lists.beside import beside
from mxallowd.process import broker
from mxallowd.settings.fleet import Engine
from mxallowd.text import printable, quoted

CONNECT_S = 1.0
MOST_CERTIFICATES = 16 << 20  # bytes of a file
AT_ONCE = 16 << 10  # bytes that are looked at in one turn of the loop: some milliseconds, of small values alone
LIMIT = 1 << 20  # bytes that wait to be read, until the engine is not listened to any more
# Of a file of certificates, by OpenSSL's words.
FAULTS = {"NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in PEM in it",
          "KEY_VALUES_MISMATCH": "the key is not that of the certificate"}
LONGEST_REASON = 400  # characters of an error

Names = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a name, as texts. Raises LinkError."""


class LinkError(MxallowdError):
    """The engine cannot be used; the text says why, in one line.

    `code` is the first word of what it replied, such as OOM; empty: the connection is lost. `remedy` is what mends it,
    where the code does not say that.
    """

    def __init__(self, reason: str, code: str = "", remedy: str = "") -> None:
        super().__init__(reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON - 3]}...")
        self.code = code
        self.remedy = remedy


class LongReply(LinkError):
    """What it replies is too long."""


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """What the engine has to show (signed by `ca`, or by those of the system), and what we show. Raises StartError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load(ca, "fleet-ca-file", lambda: context.load_verify_locations(ca))
    if certificate is not None:
        _check_secret(key or certificate, "fleet-cert-file" if key is None else "fleet-cert-key-file")
        # A key with a passphrase would ask the terminal for it.
        if key is not None:
            _load(key, "fleet-cert-key-file", lambda: None)
        _load(certificate, "fleet-cert-file",
              lambda: context.load_cert_chain(certificate, key, password=_no_passphrase))
    return context


def _check_secret(path: Path, option: str) -> None:
    with suppress(OSError):  # says the one who opens it
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            raise StartError(f"{option}: {quoted(str(path))} is not read: everybody may read this secret (chmod o-r)")


def _no_passphrase() -> str:
    raise StartError("its key has a passphrase, which nobody can enter here")


def _load(path: Path, option: str, load: Callable[[], object]) -> None:
    try:
        # OpenSSL would wait for who writes into a pipe, and for the end of a device.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StartError("it is no regular file")
        if status.st_size > MOST_CERTIFICATES:
            raise StartError(f"it is larger than {MOST_CERTIFICATES >> 20} MiB")
        load()
    except (OSError, ValueError, StartError) as error:
        if isinstance(error, ssl.SSLError):
            # Of a file that is no PEM, OpenSSL does not say more.
            reason = FAULTS.get(error.reason or "", "there is no certificate in PEM in it, or no private key with it")
        else:
            reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"{option}: {quoted(str(path))} cannot be used: {printable(reason)}") from None


async def literal(host: str) -> Sequence[str]:
    """As names where only addresses are given."""
    return [host]


class Reader(asyncio.StreamReader):
    """What comes from the engine, as replies.py passes it on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=LIMIT, loop=loop)
        self.replies = Replies()

    async def read(self, n: int = -1) -> bytes:
        """As that of any stream. Raises TooLong and Strange."""
        while data := await super().read(min(n, AT_ONCE) if n > 0 else AT_ONCE):
            more = self.replies.received > 0
            if passed := self.replies.pass_on(data):
                if more:
                    # What waits here already would hold the loop until its end.
                    await asyncio.sleep(0)
                return passed
            await asyncio.sleep(0)
        return b""


class Way(NamedTuple):
    """Leads to one engine or Sentinel."""

    host: str  # a name or an address; empty: a UNIX socket
    port: int
    path: Path | None
    tls: ssl.SSLContext | None
    names: Names

    def __str__(self) -> str:
        if self.path is not None:
            return printable(str(self.path))
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def open(self) -> tuple[Reader, asyncio.StreamWriter]:
        """A connection. Raises LinkError."""
        if self.path is not None:
            return await self._open_socket(self.path)
        reason = "it has no address"
        for address in await self.names(self.host):
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await self._open(host=address, port=self.port, **(
                        {"ssl": self.tls, "server_hostname": self.host} if self.tls else {}))
            except TimeoutError:
                reason = f"no connection within {CONNECT_S:g} s"
            except OSError as error:
                reason = reason_of(error)
        raise LinkError(f"{self}: {reason}")

    async def _open_socket(self, path: Path) -> tuple[Reader, asyncio.StreamWriter]:
        try:
            # It waits for the broker, or for whoever listens there.
            made = await beside(partial(broker.connect, str(path)))
        except OSError as error:
            raise LinkError(f"{self}: {reason_of(error)}") from None
        except StartError as error:
            raise LinkError(f"{self}: {error}") from None
        try:
            made.setblocking(False)
            return await self._open(sock=made)
        except (OSError, ValueError) as error:
            made.close()
            raise LinkError(f"{self}: {error}") from None

    async def _open(self, **where: object) -> tuple[Reader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = Reader(loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, **where)  # type: ignore[call-overload]
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def ways(engine: Engine, tls: ssl.SSLContext | None, names: Names) -> list[Way]:
    """To the engine, or to its Sentinels."""
    if engine.socket is not None:
        return [Way("", 0, engine.socket, None, names)]
    return [Way(host, port, None, tls, names) for host, port in engine.hosts]


def reason_of(error: OSError) -> str:
    """What the system, or TLS, says about a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {printable(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {printable((error.reason or str(error)).replace('_', ' ').lower())}"
    # asyncio says in other words what the system says.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else printable(str(error))
