"""Commands of nft, run by libnftables in this process, or by the program nft if the library is missing.

A command with some thousand elements is one transaction in both cases; a process costs some 4 ms more. See
libnftables(3) and libnftables-json(5).
"""
import ctypes
import json
import shutil
import subprocess
from typing import Any, Protocol

from mxallowd.mirrors import TargetError, TargetFull

LIBRARY = "libnftables.so.1"
_OUTPUT_JSON, _OUTPUT_TERSE = 1 << 4, 1 << 11  # nftables/libnftables.h
NFT_TIMEOUT_S = 30.0


class Nft(Protocol):
    """Something that carries out commands of nft."""

    def run(self, commands: str) -> None:
        """One transaction. Raises TargetError with what nft said."""

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The objects that a command lists, without the elements of sets. Raises TargetError."""

    def close(self) -> None:
        """The last call."""


class LibNft:
    """The library. Raises OSError where it is not there."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL(LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError("libnftables has no memory")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> None:
        """One transaction. Raises TargetError with what nft said."""
        self._run(commands, 0)

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The objects that a command lists, without the elements of sets. Raises TargetError."""
        return _objects(self._run(command, _OUTPUT_JSON | _OUTPUT_TERSE))

    def _run(self, commands: str, flags: int) -> bytes:
        library, context = self._library, self._context
        library.nft_ctx_output_set_flags(context, flags)
        # The interpreter's lock is released meanwhile.
        status = library.nft_run_cmd_from_buffer(context, commands.encode("ascii"))
        output = library.nft_ctx_get_output_buffer(context) or b""
        error = library.nft_ctx_get_error_buffer(context) or b""
        if status:
            raise _error(error)
        return bytes(output)

    def close(self) -> None:
        """Free the library's memory."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None


class NftProgram:
    """The program. Raises OSError where it is not there."""

    def __init__(self) -> None:
        found = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
        if found is None:
            raise OSError("the program nft is not there")
        self._program = found

    def run(self, commands: str) -> None:
        """One transaction. Raises TargetError with what nft said."""
        self._run(["-f", "-"], commands)

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The objects that a command lists, without the elements of sets. Raises TargetError."""
        return _objects(self._run(["-j", "-t", *command.split()], ""))

    def _run(self, arguments: list[str], commands: str) -> bytes:
        try:
            done = subprocess.run(
                [self._program, *arguments], input=commands.encode("ascii"), capture_output=True, check=False,
                timeout=NFT_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"nft: {error}") from None
        if done.returncode:
            raise _error(done.stderr)
        return done.stdout

    def close(self) -> None:
        """Nothing is held."""


def open_nft() -> Nft:
    """The library, else the program. Raises OSError where there is neither."""
    try:
        return LibNft()
    except OSError:
        try:
            return NftProgram()
        except OSError:
            raise OSError(f"neither the library {LIBRARY} nor the program nft is there") from None


def _objects(output: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(output)["nftables"] if output.strip() else []
    except (ValueError, KeyError, TypeError) as error:
        raise TargetError(f"nft gave no JSON: {error}") from None
    return [one for one in found if "metainfo" not in one]


def _error(output: bytes) -> TargetError:
    """The first line says it; the others quote the command, which may be very long."""
    text = output.decode("utf-8", "replace").strip().split("\n")[0]
    reason = text.partition("Error: ")[2] or text or "nft failed without a word"
    # ENFILE (strerror is the library's own): the number of elements has reached the set's size.
    return TargetFull("the set is full") if "Too many open files" in reason else TargetError(reason)
