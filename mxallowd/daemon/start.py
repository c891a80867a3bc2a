"""The start: from settings to a process that serves, in the foreground or detached, and its exit status.

The order: the pid file, the log, whatever needs root's privileges (queues, kernel tables), then these are given up and
the sandbox is entered, then the daemon runs. If it fails before it serves, the caller gets one line that says why.
"""
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mxallowd.control.changers import GROUPS
from mxallowd.daemon import Daemon, fleet
from mxallowd.daemon.looking import Look
from mxallowd.daemon.unreadable import find_unreadable
from mxallowd.dns.resolvconf import RESOLV_CONF
from mxallowd.errors import MxallowdError, StartError, one_line
from mxallowd.lists.lists import list_files
from mxallowd.log import Log, open_log
from mxallowd.log.handlers import SYSLOG_SOCKET, syslog_listens
from mxallowd.log.writer import Writer
from mxallowd.process import init, memory, privileges, sandbox, signals, streams, threads
from mxallowd.process.background import run_detached
from mxallowd.process.broker import Broker, remove
from mxallowd.process.pidfile import PidFile
from mxallowd.process.supervisor import Supervisor
from mxallowd.settings import Settings
from mxallowd.settings.loading import Loaded
from mxallowd.text import LONGEST_QUOTED, quoted

PID_FILE_AGAIN_S = 60.0
NO_SYSLOG = f"nobody listens at {SYSLOG_SOCKET}: nothing is logged until a syslog does"

Ready = Callable[[], None]


def serve(loaded: Loaded, load_again: Callable[[], Loaded]) -> int:
    """Run the daemon with what was loaded, which has settings; the exit status.

    Detached, it returns in the caller's process as soon as the daemon serves or has failed. Process 1 of a container
    stays, whether or not it was to go to the background: nothing in the container would survive it. `load_again` is for
    SIGHUP.
    """
    settings = loaded.settings
    assert settings is not None
    process = _Process(settings, loaded, load_again)
    # Until the main loop handles them, no signal may end or disturb a start.
    signals.block()
    try:
        if init.needed():
            return init.stay_beside(process.serve_here)
        if not settings.foreground:
            return run_detached(process.serve, keep_stdout=settings.stdout)
    except StartError as error:
        return Supervisor().fail(str(error))
    return process.serve_here()


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
        self._serves = False

    def ended(self) -> bool:
        """Whether no thread runs any more that Python does not know."""
        return self._daemon is None or self._daemon.ended()

    def serve_here(self) -> int:
        """Serve in this process, which nobody waits for to go to the background."""
        status = self.serve(lambda: None)
        if not self.ended():
            os._exit(status)
        return status

    def serve(self, ready: Ready) -> int:
        """Take the pid file and run; the exit status. What forbids the start is said on standard error."""
        # Not before: who goes to the background has closed all that it had.
        supervisor = Supervisor()
        try:
            if self._pid_file:
                self._pid_file.acquire()
                if self._pid_file.fault:
                    # The log may be on that very disk.
                    streams.write(sys.stderr, f"mxallowd: {self._pid_file.fault}; it starts without\n")
            return self._run(ready)
        except MxallowdError as error:
            return supervisor.fail(str(error))
        except Exception as error:  # noqa: BLE001  # whatever the system refused, it is one line
            return supervisor.fail(f"ended by an error: {error!r}" if self._serves else one_line(error))
        finally:
            if self._pid_file:
                self._pid_file.release()
            if self._broker is not None:
                self._broker.close()

    def _run(self, ready: Ready) -> int:
        memory.return_what_is_freed()
        threads.take_short_turns()
        log, writer = open_log(
            stdout=self._settings.stdout, quiet=self._settings.quiet, form=self._settings.log_format)
        try:
            for problem in self._loaded.warnings:
                log.warning("config", where=problem.where, reason=problem.message)
            if self._pid_file and self._pid_file.fault:
                log.warning("pid-file", reason=self._pid_file.fault)
            with asyncio.Runner() as runner:
                # Made first: where there is no loop, nobody would run what stands below.
                runner.get_loop()
                return runner.run(self._run_daemon(log, writer, ready))
        except Exception as error:
            # Of whatever kind it is: the system may refuse any call.
            reason = one_line(error)
            if self._serves:
                log.error("defect", count=1, reason=repr(error)[:LONGEST_QUOTED])
                raise
            log.error("start-failed", reason=reason)
            raise StartError(reason) from error
        finally:
            writer.close()

    async def _run_daemon(self, log: Log, writer: Writer, ready: Ready) -> int:
        settings = self._settings
        broker = self._start_broker()
        daemon = Daemon(settings, self._load_again, log, writer, broker)
        look: Look | None = None
        serving = False
        try:
            daemon.open()
            # While privileges are there; nobody waits for it.
            look = Look(settings)
            privileges.raise_priority()
            warnings, closed = self._give_up(daemon.readable(), daemon.removable(), daemon.writable())
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
                self._serves = True
                following.append(asyncio.create_task(look.follow(log)))

            self._daemon = daemon
            memory.give_back()
            # From here on run() gives back what was opened.
            serving = True
            return await daemon.run(ready_and_said)
        finally:
            if not serving:
                daemon.close()
            if look is not None:
                look.close()

    def _give_up(
        self, readable: list[Path], removable: list[Path], writable: list[int],
    ) -> tuple[list[str], list[tuple[Path, str]]]:
        """Warnings, and what cannot be read from now on."""
        sandbox.load()
        warnings = privileges.give_up(self._settings.user)
        closed = find_unreadable(self._settings)
        if self._settings.no_sandbox:
            return [*warnings, "no sandbox"], closed
        return warnings + sandbox.enter([*sandbox.program(), *readable], removable, writable=writable), closed

    def _start_broker(self) -> Broker | None:
        # The broker becomes the same user: who that cannot be is said once, by us.
        privileges.account_of(self._settings.user)
        if self._settings.no_sandbox:
            return None
        self._broker = Broker(
            ("mxallowd.lists.broker", str(self._settings.config)), self._settings.user,
            [self._settings.config, RESOLV_CONF, GROUPS, *list_files(self._settings), *fleet.files(self._settings)],
            self._pid_file.removable() if self._pid_file else [], [SYSLOG_SOCKET, *fleet.sockets(self._settings)])
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
