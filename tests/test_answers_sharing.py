"""One result for many who ask the same: made once, ended when nobody waits, not kept where it failed."""
import asyncio

import pytest

from mxallowd.control.answers.sharing import AT_ONCE, KEPT_S, MOST_KEPT, Changes, Shared
from mxallowd.control.exchange import Request, RequestError, Response, Route


class Scene:
    """What is made takes until `go`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made: list[str] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()
        self.changes = Changes()
        self.shared = Shared(self.make, self.changes, lambda: self.now)

    async def make(self, key: str) -> str:
        self.made.append(key)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append(key)
            raise
        if key == "bad":
            raise ValueError(key)
        return f"{key}{len(self.made)}"

    async def start(self, *keys: str) -> "list[asyncio.Task[str]]":
        tasks = [asyncio.create_task(self.shared.get(key)) for key in keys]
        for _ in range(5):
            await asyncio.sleep(0)
        return tasks


def test_who_asks_the_same_gets_the_same() -> None:
    async def story() -> None:
        scene = Scene()
        tasks = await scene.start(*"aaaa")
        assert scene.made == ["a"]
        tasks[0].cancel()  # the others wait for it all the same
        await asyncio.sleep(0)
        scene.go.set()
        assert await asyncio.gather(*tasks[1:]) == ["a1"] * 3
        scene.now = KEPT_S
        assert await scene.shared.get("a") == "a1"
        scene.now = 2 * KEPT_S + 0.1
        assert await scene.shared.get("a") == "a2"
        for number in range(3 * MOST_KEPT):
            await scene.shared.get(f"b{number}")
        assert len(scene.shared._results) <= MOST_KEPT
        scene.now += KEPT_S + 0.1
        await scene.shared.get("c")
        assert len(scene.shared._results) == 1

    asyncio.run(story())


def test_what_nobody_waits_for_ends_and_failures_are_not_kept() -> None:
    async def story() -> None:
        scene = Scene()
        tasks = await scene.start("a", "a", "b", "bad", "c")
        assert scene.made == ["a", "b"][:AT_ONCE]
        for task in tasks[:3]:
            task.cancel()
        await asyncio.gather(*tasks[:3], return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.ended == ["a", "b"]
        assert scene.made == ["a", "b", "bad", "c"]
        scene.go.set()
        with pytest.raises(ValueError, match="bad"):
            await tasks[3]
        assert await tasks[4] == "c4"
        with pytest.raises(ValueError, match="bad"):
            await scene.shared.get("bad")
        assert scene.made[4:] == ["bad"]

    asyncio.run(story())


def test_who_asks_after_a_change_gets_nothing_begun_before_it() -> None:
    async def story() -> None:
        scene = Scene()

        async def change(request: Request) -> Response:
            if request.body:
                raise RequestError(507, "no-room", "a part of it is done")
            return Response()

        post, get = scene.changes.noted_by([
            Route("POST", "/v1/a", change, changes=True), Route("GET", "/v1/a", change)])
        before, = await scene.start("a")
        await post.handler(Request("POST", "/v1/a"))
        after, = await scene.start("a")
        scene.go.set()
        assert (await before, await after) == ("a2", "a2")  # its number is that of all that was begun by then
        assert scene.made == ["a", "a"]
        assert await scene.shared.get("a") == "a2"
        await get.handler(Request("GET", "/v1/a"))
        assert await scene.shared.get("a") == "a2"
        with pytest.raises(RequestError):
            await post.handler(Request("POST", "/v1/a", body=1))
        assert await scene.shared.get("a") == "a3"
        assert len(scene.shared._results) == 1

    asyncio.run(story())
