"""The console's log: one table of its lines, and the way to standard error, which never holds anybody up.

Each line is a word and key=value pairs, as those of mxallowd; what stands in them may be anybody's text and is made
printable. Under systemd a line has its level before it (sd-daemon(3)) and no time, which the journal has.

Which way it fails: of a word that comes more often than PER_S, lines are left out, and so are lines where nobody reads;
`suppressed lines=N` says how many. Lines of CHANGES are left out in the second case alone (clicks.py bounds them).
"""
import logging
import os
import time

from mxallowd.log.grammar import Form, format_line, text_record
from mxallowd.log.handlers import StreamHandler
from mxallowd.log.words import ERROR, INFO, WARNING, Line
from mxallowd.log.writer import Writer
from mxallowd.sinks.bucket import Bucket

PER_S, BURST = 5.0, 100.0  # lines of one word
CHANGES = frozenset({"changed", "unchanged", "not-changed", "change-unknown"})
LONGEST = 2000  # characters of a value
_STDERR = 2
_PRIORITIES = {logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}

LINES = (
    Line("start version= user= users=", INFO, "it serves, as this user of the system; so many users may log in"),
    Line("listening address= tls=", INFO, "where; one line for each address"),
    Line("clear-text address= reason=", WARNING, "passwords and cookies can be read on the way to this address"),
    Line("no-sandbox reason=", WARNING, "a part of the sandbox, or all of it, is not there"),
    Line("users reason=", WARNING, "a line of the file of users cannot be used, or the file cannot be read"),
    Line("certificate reason=", INFO, "after SIGHUP: certificate and key have been read again"),
    Line("certificate-failed reason=", WARNING, "after SIGHUP: they cannot be read, so the old ones hold"),
    Line("logged-in client= user= role=", INFO, "somebody has logged in"),
    Line("logged-out client= user=", INFO, "somebody has logged out"),
    Line("log-in-failed client= user=", WARNING, "the name or the password was wrong"),
    Line("log-in-refused client= user= times=", WARNING,
         "there were too many attempts to log in, so many of them since the last such line; no password was "
         "looked at"),
    Line("changed client= user= change= what= said=", INFO,
         "a user has changed something; a line of mxallowd's own log has `by=` with the same name"),
    Line("unchanged client= user= change= what= said=", INFO, "what a user asked for was so already"),
    Line("not-changed client= user= change= what= reason=", WARNING, "what a user asked for was refused"),
    Line("change-unknown client= user= change= what= reason=", WARNING,
         "no answer came, or not for all of it: nobody knows whether it was done"),
    Line("unreachable reason=", WARNING, "mxallowd does not answer; said once until it does"),
    Line("reached", INFO, "mxallowd answers again"),
    Line("history-failed reason=", WARNING, "the history of the plots cannot be read or written"),
    Line("history-works", INFO, "it is written again"),
    Line("devices-failed reason=", WARNING,
         "the key by which browsers are known again cannot be kept: a restart forgets them"),
    Line("defect path= error= trace=", ERROR, "an error of the console itself, at most one a minute; please report it"),
    Line("suppressed lines=", WARNING, "so many lines were left out before this one"),
    Line("stop signal=", INFO, "a clean end"),
)
_LEVELS = {line.word: getattr(logging, line.levels[0].upper()) for line in LINES}


class Log:
    """Writes lines; any thread may."""

    def __init__(self) -> None:
        self._journal = _is_journal()
        # Its form is not about these lines, which are made here: with this one they get no time.
        self._writer = Writer(StreamHandler(_STDERR, Form.JSON if self._journal else Form.TEXT))
        self._buckets: dict[str, Bucket] = {word: Bucket(PER_S, BURST) for word in _LEVELS.keys() - CHANGES}

    def start(self) -> None:
        """Begin to write: after privileges are gone, as the thread would keep them. Raises StartError."""
        self._writer.start()

    def write(self, word: str, /, **values: object) -> None:
        """One line: a word and its values, whose text may be anybody's. Never waits, never raises."""
        level = _LEVELS[word]
        if word not in CHANGES and not self._buckets[word].take():
            self._writer.count_suppressed(1)
            return
        text = format_line(word, None, {key: str(value)[:LONGEST] for key, value in values.items()})
        self._writer.emit(text_record(time.time(), level, f"{_PRIORITIES[level]}{text}" if self._journal else text))

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._writer.close()


def _is_journal() -> bool:
    """Whether standard error is the journal's (systemd.exec(5), JOURNAL_STREAM)."""
    status = os.fstat(_STDERR)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
