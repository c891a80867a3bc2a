"""The start: from settings to a process that serves, in the foreground or detached, and its exit status.

The order: the pid file, the log, whatever needs root's privileges (queues, kernel tables), then these are given up and
the sandbox is entered, then the daemon runs. If it fails before it serves, the caller gets one line that says why.
"""
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mxallowd.daemon import SIGNALS, Daemon
from mxallowd.daemon.unreadable import find_unreadable
from mxallowd.dns.resolvconf import RESOLV_CONF
from mxallowd.daemon.looking import Look
from mxallowd.errors import MxallowdError, StartError
from mxallowd.log import Log, open_log
from mxallowd.log.handlers import SYSLOG_SOCKET, syslog_listens
from mxallowd.log.writer import Writer
from mxallowd.process import memory, privileges, sandbox, streams
from mxallowd.process.background import run_detached
from mxallowd.process.broker import Broker, remove
from mxallowd.process.pidfile import PidFile
from mxallowd.settings import Settings
from mxallowd.settings.loading import Loaded
from mxallowd.text import quoted

PID_FILE_AGAIN_S = 60.0
NO_SYSLOG = f"nobody listens at {SYSLOG_SOCKET}: nothing is logged until a syslog does"

Ready = Callable[[], None]


def serve(loaded: Loaded, load_again: Callable[[], Loaded]) -> int:
    """Run the daemon with what was loaded, which has settings; the exit status.

    Detached, it returns in the caller's process as soon as the daemon serves or has failed. `load_again` is for SIGHUP.
    """
    settings = loaded.settings
    assert settings is not None
    process = _Process(settings, loaded, load_again)
    if not settings.foreground:
        return run_detached(process.serve, SIGNALS, keep_stdout=settings.stdout)
    # Until the main loop handles them, no signal may end or disturb a start.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    status = process.serve(lambda: None)
    if not process.ended():
        os._exit(status)
    return status


class _Process:
    """The process that serves, and what belongs to it rather than to the daemon: pid file and log."""

    def __init__(self, settings: Settings, loaded: Loaded, load_again: Callable[[], Loaded]) -> None:
        self._settings = settings
        self._loaded = loaded
        self._load_again = load_again
        self._pid_file = None if settings.foreground else PidFile(settings.pid_file)
        # A queue thread that hangs at the stop goes on using the daemon's memory: hold it until the process is gone.
        self._daemon: Daemon | None = None
        self._broker: Broker | None = None

    def ended(self) -> bool:
        """Whether no thread runs any more that Python does not know."""
        return self._daemon is None or self._daemon.ended()

    def serve(self, ready: Ready) -> int:
        """Take the pid file and run; the exit status. What forbids the start is said on standard error."""
        try:
            if self._pid_file:
                self._pid_file.acquire()
                if self._pid_file.fault:
                    # The log may be on that very disk.
                    streams.write(sys.stderr, f"mxallowd: {self._pid_file.fault}; it starts without\n")
            return self._run(ready)
        except MxallowdError as error:
            return streams.fail(str(error))
        finally:
            if self._pid_file:
                self._pid_file.release()
            if self._broker is not None:
                self._broker.close()

    def _run(self, ready: Ready) -> int:
        memory.return_what_is_freed()
        log, writer = open_log(stdout=self._settings.stdout, quiet=self._settings.quiet)
        try:
            for problem in self._loaded.warnings:
                log.warning("config", where=problem.where, reason=problem.message)
            if self._pid_file and self._pid_file.fault:
                log.warning("pid-file", reason=self._pid_file.fault)
            return asyncio.run(self._run_daemon(log, writer, ready))
        except StartError as error:
            log.error("start-failed", reason=str(error))
            raise
        finally:
            writer.close()

    async def _run_daemon(self, log: Log, writer: Writer, ready: Ready) -> int:
        settings = self._settings
        broker = self._start_broker()
        daemon = Daemon(settings, self._load_again, log, writer, broker)
        daemon.open()
        # While privileges are there; nobody waits for it.
        look = Look(settings)
        try:
            privileges.raise_priority()
            warnings, closed = self._give_up(daemon.readable())
            following: list[asyncio.Task[None]] = []

            def ready_and_said() -> None:
                for warning in warnings:
                    log.warning("privileges", reason=warning)
                for path, reason in closed:
                    log.error("unreadable", path=path, reason=reason)
                    streams.write(sys.stderr, f"mxallowd: {quoted(str(path))}: {reason}\n")
                if self._pid_file and self._pid_file.fault:
                    _mend(self._pid_file, settings.pid_file, log)
                # The last moment in which somebody sees it.
                if not settings.stdout and not syslog_listens():
                    streams.write(sys.stderr, f"mxallowd: {NO_SYSLOG}\n")
                ready()
                following.append(asyncio.create_task(look.follow(log)))

            self._daemon = daemon
            memory.give_back()
            return await daemon.run(ready_and_said)
        finally:
            look.close()

    def _give_up(self, readable: list[Path]) -> tuple[list[str], list[tuple[Path, str]]]:
        """Warnings, and what cannot be read from now on."""
        sandbox.load()
        warnings = privileges.give_up(self._settings.user)
        closed = find_unreadable(self._settings)
        if self._settings.no_sandbox:
            return [*warnings, "no sandbox"], closed
        return warnings + sandbox.enter([*sandbox.program(), *readable]), closed

    def _start_broker(self) -> Broker | None:
        if self._settings.no_sandbox:
            return None
        self._broker = Broker(
            self._settings.user, [self._settings.config, RESOLV_CONF],
            self._pid_file.removable() if self._pid_file else [], SYSLOG_SOCKET)
        self._broker.start()
        if self._pid_file:
            self._pid_file.remove = remove
        return self._broker


def _mend(pid_file: PidFile, path: Path, log: Log) -> None:
    """Write the pid file once its disk has room again."""
    if pid_file.mend():
        log.info("pid-file", written=path)
    else:
        asyncio.get_running_loop().call_later(PID_FILE_AGAIN_S, _mend, pid_file, path, log)
