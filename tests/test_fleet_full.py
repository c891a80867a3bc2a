"""An engine whose memory is full of entries that still live: new ones pass again by themselves, and none is missing."""
from pathlib import Path

import pytest

from lab.hosts import supported
from tests.gateways import BROKEN, MENDED, STREAM, fleet, seconds_until, start
from tests.rogue import Rogue, keys_of, packed

pytestmark = pytest.mark.skipif(bool(supported()), reason=supported() or "")


def test_the_older_half_gives_way(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        engine = made.engine()
        a, b, c = (made.gateway(name) for name in "abc")
        start(a, b)
        # What A has said first is in the half that is dropped.
        old = a.meet("10.1.0.0", 50)
        seconds_until(lambda: b.known().keys() >= old, 5)
        flood = Rogue(engine, keys_of(made.key.read_text(encoding="ascii")), "flood")
        for number in range(200):
            flood.tell([packed(f"10.{16 + number}.0.{one}") for one in range(200)])
        engine.do("CONFIG SET", "maxmemory", engine.do("INFO", "memory")["used_memory"] - (100 << 10))
        before = engine.do("XLEN", STREAM)
        a.meet("10.2.0.0", 1)
        assert seconds_until(lambda: b.entry("10.2.0.0"), 10) < 5
        assert engine.do("XLEN", STREAM) < before * 3 // 4
        seconds_until(lambda: a.said(MENDED), 10)
        assert len(a.said(BROKEN)) == 1
        said, = a.said("fleet-engine")
        assert "the older half of the stream was dropped" in said
        # Who comes now hears of those as well.
        c.start()
        seconds_until(lambda: c.known().keys() >= old | {"10.2.0.0"}, 10)
