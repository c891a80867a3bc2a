"""Names that somebody asks for by himself: no zone is waited for, so that its servers hold none of his places."""
import asyncio

import pytest

from mxallowd.dns.hostnames import reverse_name
from mxallowd.dns.resolver import LookupFailed, NotNow
from tests.strategies import packed
from tests.test_rdns_sink import Scene

HOST, NAME = "203.0.113.7", "crm.example.org"


def test_a_zone_without_answers_is_not_waited_for() -> None:
    async def story() -> None:
        scene = Scene()
        scene.zone.add(HOST, NAME)
        for number in range(3):
            scene.zone.broken.add(reverse_name(packed(f"198.51.100.{number}")))
            with pytest.raises(LookupFailed) as failed:
                await scene.sink.confirmed_names(packed(f"198.51.100.{number}"))
            assert not isinstance(failed.value, NotNow)
        # It is set aside now.
        async with asyncio.timeout(0.5):
            with pytest.raises(NotNow):
                await scene.sink.confirmed_names(packed("198.51.100.9"))
            assert await scene.sink.confirmed_names(packed(HOST)) == [NAME]
        # Nor is the zone of a name.
        scene.zone.add("203.0.113.8", "a.example.net")
        scene.zone.broken.add("a.example.net")
        async with asyncio.timeout(0.5):
            for _ in range(3):
                with pytest.raises(LookupFailed):
                    await scene.sink.confirmed_names(packed("203.0.113.8"))
            with pytest.raises(NotNow):
                await scene.sink.confirmed_names(packed("203.0.113.8"))
        scene.sink.close()

    asyncio.run(story())
