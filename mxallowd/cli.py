"""The command: from argv to an exit status.

0 after a clean stop, --help, --version, or a --check without errors; 1 otherwise. What is wrong with the input ends in
one line on standard error that quotes it; a missing server or queue number adds the usage.
"""
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mxallowd import __version__, backends
from mxallowd.daemon import SIGNALS, Daemon
from mxallowd.errors import ConfigError, MxallowdError, StartError
from mxallowd.log import SYSLOG_SOCKET, open_log, syslog_listens
from mxallowd.process import memory, privileges, sandbox, streams
from mxallowd.process.background import run_detached
from mxallowd.process.pidfile import PidFile
from mxallowd.settings import Settings, arguments
from mxallowd.settings.loading import Loaded, load

PID_FILE_AGAIN_S = 60.0
NO_SYSLOG = f"nobody listens at {SYSLOG_SOCKET}: nothing is logged until a syslog does"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default) and return the exit status."""
    streams.open_standard()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        assignments, actions = arguments.parse(words)
    except ConfigError as error:
        return streams.fail(str(error))
    if "help" in actions:
        return _print(arguments.help_text())
    if "version" in actions:
        return _print(f"mxallowd {__version__}\n")

    def load_again() -> Loaded:
        return load(assignments, bare=not words)

    loaded = load_again()
    if "check" in actions:
        return _check(loaded)
    if loaded.settings is None:
        return _refuse(loaded)
    return _serve(loaded.settings, loaded, load_again)


def _print(text: str) -> int:
    # Who asked for a text and did not get it is told so by the status.
    return 0 if streams.write(sys.stdout, text) else 1


def _check(loaded: Loaded) -> int:
    reasons = backends.unsupported(loaded.settings) if loaded.settings else []
    lines = [*map(str, loaded.problems), *(f"system: {reason}" for reason in reasons)]
    streams.write(sys.stdout, "".join(f"{line}\n" for line in lines))
    return 1 if loaded.settings is None or reasons else 0


def _refuse(loaded: Loaded) -> int:
    first, *others = loaded.fatal
    more = f" (and {len(others)} more: --check shows all)" if others else ""
    place = "" if first.where in ("configuration", "settings") else f"{first.where}: "
    streams.fail(f"{place}{first.message}{more}")
    if first.missing:
        streams.write(sys.stderr, arguments.usage())
    return 1


def _serve(settings: Settings, loaded: Loaded, load_again: Callable[[], Loaded]) -> int:
    # A queue thread that hangs at the stop goes on using the daemon's memory: hold it until the process is gone.
    held: list[Daemon] = []

    def serve(ready: Callable[[], None]) -> int:
        def ready_and_warned() -> None:
            # The last moment in which somebody sees it.
            if not settings.stdout and not syslog_listens():
                streams.write(sys.stderr, f"mxallowd: {NO_SYSLOG}\n")
            ready()

        pid_file = None if settings.foreground else PidFile(settings.pid_file)
        try:
            if pid_file:
                pid_file.acquire()
                if pid_file.fault:
                    # The log may be on that very disk.
                    streams.write(sys.stderr, f"mxallowd: {pid_file.fault}; it starts without\n")
            return _run(loaded, load_again, ready_and_warned, held, pid_file)
        except MxallowdError as error:
            return streams.fail(str(error))
        finally:
            if pid_file:
                pid_file.release()

    # Until the main loop handles them, no signal may end or disturb a start.
    if settings.foreground:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = serve(lambda: None)
        if not all(daemon.ended() for daemon in held):
            os._exit(status)
        return status
    return run_detached(serve, SIGNALS, keep_stdout=settings.stdout)


def readable(settings: Settings) -> list[Path]:
    """What has to be read later, besides what belongs to the system."""
    places = [*sandbox.program(), *sandbox.places_of(settings.config)]
    if settings.pflog_interface and settings.pflog_interface.startswith("file:"):
        places.append(Path(settings.pflog_interface.removeprefix("file:")))
    return places


def _run(
    loaded: Loaded, load_again: Callable[[], Loaded], ready: Callable[[], None], held: list[Daemon],
    pid_file: PidFile | None,
) -> int:
    memory.return_what_is_freed()
    settings = loaded.settings
    assert settings is not None

    def mend(pid_file: PidFile) -> None:
        # The disk may have room again.
        if pid_file.mend():
            log.info("pid-file", written=settings.pid_file)
        else:
            asyncio.get_running_loop().call_later(PID_FILE_AGAIN_S, mend, pid_file)

    async def run() -> int:
        daemon = Daemon(settings, load_again, log, writer)
        daemon.open()
        privileges.raise_priority()
        sandbox.load()
        warnings = privileges.give_up(settings.user) + (
            ["no sandbox"] if settings.no_sandbox else sandbox.enter(
                readable(settings), [] if settings.foreground else [settings.pid_file.parent]))

        def ready_and_said() -> None:
            for warning in warnings:
                log.warning("privileges", reason=warning)
            if pid_file and pid_file.fault:
                mend(pid_file)
            ready()

        held.append(daemon)
        return await daemon.run(ready_and_said)

    log, writer = open_log(stdout=settings.stdout, quiet=settings.quiet)
    try:
        for problem in loaded.warnings:
            log.warning("config", where=problem.where, reason=problem.message)
        if pid_file and pid_file.fault:
            log.warning("pid-file", reason=pid_file.fault)
        return asyncio.run(run())
    except StartError as error:
        log.error("start-failed", reason=str(error))
        raise
    finally:
        writer.close()
