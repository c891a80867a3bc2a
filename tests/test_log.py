"""The log: levels, and what --quiet leaves."""
import logging

from mxallowd.log import Log
from tests.log_lines import Appends


def test_quiet_leaves_errors_and_what_was_asked_for() -> None:
    lines: list[str] = []
    # One that logging keeps: another one does not notice when its level changes.
    logger = logging.getLogger("mxallowd-test")
    logger.propagate = False
    logger.handlers[:] = [Appends(lines)]
    log = Log(logger)
    log.set_quiet(True)
    assert not log.takes_info()
    log.info("a")
    log.warning("b")
    log.error("c")
    log.notice("counters", blocked=1)
    log.set_quiet(False)
    assert log.takes_info()
    log.info("d")
    assert lines == [line.text for line in log.recent.kept().lines] == ["c", "counters blocked=1", "d"]
