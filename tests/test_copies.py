"""The copy ends the same as the whitelist."""
import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Kind
from mxallowd.mirrors import TargetError
from tests.memory_target import Scene, run
from tests.strategies import HOSTS, listed


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(("add", "use", "gone", "flush", "fail", "mend"))),
                max_size=30))
def test_whatever_happens_it_ends_the_same_as_the_whitelist(steps: list[tuple[bytes, str]]) -> None:
    async def story() -> None:
        scene = Scene()
        scene.open()
        for host, what in steps:
            if what == "add":
                scene.contact(host)
            elif what == "use" and scene.table.mark_used(host, boottime_us()):
                scene.tell(Kind.ACCEPTED, host)
            elif what == "gone":
                scene.tell(Kind.EVICTED, host)
            elif what == "flush":
                scene.target.copied.clear()
            elif what == "fail":
                scene.target.fault = TargetError("broken")
            elif what == "mend":
                scene.target.fault = None
            await asyncio.sleep(0)
        scene.target.fault = None
        wanted = {host: used for host, (_, used) in listed(scene.whitelist).items()}
        # Lost for sure is only what nobody tells of: the sample that finds a flush spares the youngest hosts.
        scene.whitelist.missed()

        def same() -> bool:
            scene.later(5)
            return {host: used for host, (_, used) in scene.target.copied.items()} == wanted

        await scene.until(same)
        scene.mirror.close()

    run(story)
