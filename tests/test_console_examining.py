"""How much is broken by the daemon's own word, for the overview."""
import asyncio
from pathlib import Path

from mxallowd.console.examining import EACH_S, Examination
from mxallowd.console.figures import State
from mxallowd.console.pages import overview
from mxallowd.console.visit import Visit
from mxallowd.console.watching import Watching
from tests.console_beats import series
from tests.console_pages import answering
from tests.console_visits import rendered, visitor
from tests.test_console_doctor import answers

FAILED = {"/v1/status": {"dry_run": False, "stress": False, "reload": {"ok": False, "reason": "a <b>comma</b>"}}}


def test_what_the_doctor_finds_broken_stands_on_the_overview(tmp_path: Path) -> None:
    """While the pulse says that all is well."""
    told = {**answers(), **FAILED, "/v1/series": {**series(), "healthy": True, "ready": True}}
    with answering(tmp_path, told) as control:
        async def run() -> tuple[State, str]:
            daemon = Watching(control, None, print)
            daemon.start()
            try:
                while daemon.pulse.state.fault:
                    await asyncio.sleep(0.01)
                visit = Visit(visitor(), "/")
                page = rendered(await overview.show(visit, daemon), "Overview", visit)
                return daemon.state, page.text
            finally:
                await daemon.close()
        state, text = asyncio.run(run())
    assert (state.kind, state.doctor) == ("warning", "Doctor: 1 thing is broken")
    assert "healthy and ready, but something is broken" in text
    assert state.doctor in text
    assert state.document()["doctor"] == state.doctor


def test_it_is_asked_once_in_a_while_and_silence_counts_nothing(tmp_path: Path) -> None:
    now = [100.0]
    with answering(tmp_path, {**answers(), **FAILED}) as control:
        async def run() -> list[int]:
            daemon = Watching(control, None, print)
            one, found = Examination(daemon, lambda: now[0]), list[int]()
            await one.renew()
            found.append(one.broken)
            control.unlink()
            await one.renew()
            found.append(one.broken)
            now[0] += EACH_S
            await one.renew()
            return [*found, one.broken]

        assert asyncio.run(run()) == [1, 1, 0]
