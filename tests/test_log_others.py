"""What asyncio and others log goes into our own log, at most a line a minute, and never to standard error."""
import logging

import pytest

from mxallowd.log import others


def test_others_have_a_line_a_minute_and_standard_error_has_none(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", True)
    told: list[str] = []
    others.take(told.append)
    for _ in range(1000):
        logging.getLogger("asyncio").warning("socket.send() raised exception.")
    assert not told
    for number in range(1000):
        try:
            raise ValueError("a" * 1000)
        except ValueError:
            logging.getLogger("asyncio").exception("Task %d failed", number)
    assert len(told) == 1
    assert told[0].startswith("asyncio: Task 0 failed: ValueError('aaa")
    assert len(told[0]) == others.LONGEST
    assert capfd.readouterr() == ("", "")
