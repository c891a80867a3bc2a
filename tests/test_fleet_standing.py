"""How a gateway stands with its engine: one line when it is broken, one when it is mended, and few between them."""
from mxallowd.fleet.opening import LinkError
from mxallowd.fleet.standing import ADDING, LINK, MENDED_AFTER_S, STREAM, Standing
from tests.recorder import Recorder


class Scene:
    def __init__(self) -> None:
        self.recorder = Recorder()
        self.now = 100.0
        self.standing = Standing(self.recorder.log, lambda: self.now)

    def well(self, what: str = LINK) -> None:
        """It goes on to be well for as long as that takes."""
        self.standing.mend(what)
        self.now += MENDED_AFTER_S
        self.standing.mend(what)

    def connected(self) -> bool:
        return self.standing.connected

    def lines(self) -> list[str]:
        return self.recorder.take()


def test_a_start_that_goes_well_says_nothing() -> None:
    scene = Scene()
    scene.standing.mend(LINK)
    assert scene.connected()
    assert scene.lines() == []
    scene.now += 7
    assert scene.standing.since_s() == 7


def test_one_line_when_it_begins_and_one_when_it_ends() -> None:
    scene = Scene()
    scene.standing.mend(LINK)
    for _ in range(9):
        scene.standing.fail(LINK, LinkError("h:1: Connection refused"))
        scene.now += 3
    assert not scene.connected()
    assert scene.standing.fault == "h:1: Connection refused"
    assert scene.standing.since_s() == 27
    scene.standing.mend(LINK)
    assert not scene.connected()
    scene.now += MENDED_AFTER_S
    scene.standing.mend(LINK)
    assert scene.connected()
    assert scene.standing.fault == ""
    assert scene.lines() == ['fleet-broken reason="h:1: Connection refused"', "fleet-mended seconds=28"]
    assert scene.standing.broken == 1


def test_one_that_comes_and_goes_is_one_fault() -> None:
    scene = Scene()
    for _ in range(50):
        scene.standing.fail(LINK, LinkError("gone"))
        scene.now += 0.1
        scene.standing.mend(LINK)
        scene.now += 0.2
    scene.well()
    assert scene.lines() == ["fleet-broken reason=gone", "fleet-mended seconds=15"]


def test_another_reason_is_said_once_a_minute() -> None:
    scene = Scene()
    for number in range(30):
        scene.standing.fail(LINK, LinkError("one" if number % 2 else "two"))
        scene.now += 5
    assert scene.lines() == ["fleet-broken reason=two", "fleet-broken reason=one", "fleet-broken reason=two"]
    assert scene.standing.broken == 1


def test_all_of_it_has_to_be_well() -> None:
    scene = Scene()
    scene.standing.mend(LINK)
    scene.standing.fail(ADDING, LinkError("it has no memory left", "OOM"))
    assert "maxmemory" in scene.standing.remedy
    scene.standing.fail(STREAM, LinkError("the last ID"), "redis-cli DEL x")
    # What is wrong with the stream is why nothing can be added.
    assert (scene.standing.fault, scene.standing.remedy) == ("the last ID", "redis-cli DEL x")
    scene.well()
    scene.well(STREAM)
    assert not scene.connected()
    assert not scene.standing.is_faulty(STREAM)
    scene.well(ADDING)
    assert scene.connected()
    assert [line.split()[0] for line in scene.lines()] == ["fleet-broken", "fleet-mended"]


def test_an_engine_that_throws_away_is_warned_of() -> None:
    scene = Scene()
    for policy in ("noeviction", "", "allkeys-lru", "allkeys-lru"):
        scene.standing.judge(policy)
    assert len(scene.standing.warnings) == 1
    assert [line.split()[0] for line in scene.lines()] == ["fleet-engine"]
    scene.now += 60
    scene.standing.judge("allkeys-lru")
    assert [line.split()[0] for line in scene.lines()] == ["fleet-engine"]
    scene.standing.judge("noeviction")
    assert scene.standing.warnings == []


def test_it_is_never_broken_without_a_word() -> None:
    scene = Scene()
    assert "not reached yet" in scene.standing.fault
    scene.standing.fail(LINK, LinkError("h:1: Connection refused"))
    assert "start the engine" in scene.standing.remedy
    scene.standing.mend(LINK)
    assert not scene.connected()
    assert "answers again" in scene.standing.fault
    assert "Connection refused" in scene.standing.fault


def test_a_clock_that_is_off_is_said_once() -> None:
    scene = Scene()
    scene.standing.judge_clock(0, off=False)
    for seconds in range(-86_400, -86_390):
        scene.standing.judge_clock(seconds, off=True)
    assert "86391 s behind" in scene.standing.warnings[0]
    scene.standing.judge_clock(1, off=False)
    assert scene.standing.warnings == []
    line, = scene.lines()
    assert "86400 s behind" in line
