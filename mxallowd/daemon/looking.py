"""The look at the surroundings (surroundings.py) at the start: its process is started while privileges are there.

Its warnings are logged as they come; a look that takes too long is ended. Nothing waits for it.
"""
import asyncio
import subprocess

from mxallowd import surroundings
from mxallowd.log import Log
from mxallowd.settings import Settings

MOST_BYTES = 1 << 16
ENDING_S, ENDING_LOOKS = 0.1, 200


class Look:
    """One look."""

    def __init__(self, settings: Settings) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        if not surroundings.applies(settings):
            return
        try:
            self._process = subprocess.Popen(
                surroundings.command(settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0)
        except OSError:
            # Without it nothing is missing but these warnings.
            return

    async def follow(self, log: Log) -> None:
        """Log what it finds."""
        if self._process is None:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(surroundings.LIMIT_S):
                await self._read(loop)
        except TimeoutError:
            self._said = b""
        # The sandbox lets us end nobody: it ends by itself, at the latest by its alarm, and is not to stay as a zombie.
        for _ in range(ENDING_LOOKS):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(ENDING_S)
        self.close()
        for line in self._said.decode("utf-8", "replace").splitlines():
            log.warning("surroundings", reason=line)

    async def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._process
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
        try:
            while len(self._said) < MOST_BYTES:
                await ready.wait()
                ready.clear()
                more = self._process.stdout.read(4096)
                if not more:
                    return
                self._said += more
        finally:
            loop.remove_reader(descriptor)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        if self._process.stdout:
            self._process.stdout.close()
        try:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        except PermissionError:
            # It still is root and we are not: its alarm ends it.
            self._process.returncode = 0
        self._process = None
