"""What the kernel's tables have in common: the one connection by which each is asked and changed."""
from typing import Generic, Protocol, TypeVar

from mxallowd.errors import StartError


class _Closed(Protocol):
    def close(self) -> None:
        """Close it."""


Query = TypeVar("Query", bound=_Closed)


class Connected(Generic[Query]):
    """A table with a connection of its own, from open() to close()."""

    name: str
    _connection: Query | None = None

    def _connect(self) -> Query:
        """A new connection. Raises OSError."""
        raise NotImplementedError

    def open(self) -> None:
        """Open a socket. Raises StartError."""
        try:
            self._connection = self._connect()
        except OSError as error:
            raise StartError(f"{self.name}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close it."""
        if self._connection:
            self._connection.close()

    @property
    def _query(self) -> Query:
        assert self._connection
        return self._connection
