"""The demo ends well in each of its ways, and its picture shows what it prints."""
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from documents import picture
from lab.console import Session
from lab.demo import FLEET, WAYS
from tests.until import until

ROOT = Path(__file__).parent.parent


def shows_what_is_printed(text: str) -> None:
    """docs/demo.svg has no other lines than the demo of today, and all that it takes from there."""
    printed = {line.strip() for line in picture.plain(text)}
    drawn = [line.strip().removeprefix("$ ") for line in picture.texts(picture.PICTURE.read_text(encoding="utf-8"))]
    again = "python -m documents.picture draws it anew"
    assert drawn[0] == picture.COMMAND.removeprefix("$ ")
    assert set(drawn[1:]) <= printed, again
    # On a machine with much to do, lines of the daemon may come late, in a step that is not shown.
    assert {line.strip().removeprefix("$ ") for line in picture.chosen(text)} - {""} <= set(drawn), again


@pytest.mark.usefixtures("namespaces")
def test_the_demo() -> None:
    # Side by side: most of it waits for what does not come.
    ways = [*sorted(WAYS), FLEET]
    running = [subprocess.Popen([sys.executable, "-m", "lab.demo", way], cwd=ROOT, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for way in ways]
    try:
        for way, one in zip(ways, running, strict=True):
            text, _ = one.communicate(timeout=60)
            assert one.returncode == 0, text
            # Its last steps are the questions of an operator, and their answers.
            assert "192.0.2.101: gets in\n" in text
            assert ("why: the gateway mx1 told of it\n" if way == FLEET else "192.0.2.66: is refused\n") in text
            assert text.endswith("\nEverything was as expected.\n")
            if way == "a":
                shows_what_is_printed(text)
    finally:
        for one in running:
            one.kill()
            one.wait()


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("seconds", [8, 600])
def test_the_console_demo(seconds: int) -> None:
    """Its traffic is a gateway's, its console lets in who has the password, and its end leaves nothing."""
    with subprocess.Popen([sys.executable, "-m", "lab.demo", "console", "--for", str(seconds)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        try:
            assert running.stdout
            said = ""
            while "It ends after" not in said:
                line = running.stdout.readline()
                assert line, said
                said += line
            found = re.search(r"console +http://127\.0\.0\.1:(\d+)/\n +user +(\S+)\n +password +(\S+)\n", said)
            assert found, said
            session = Session(int(found[1]))
            assert session.post("/login", {"name": found[2], "password": "wrong, and long enough"}).status != 303
            answer = session.post("/login", {"name": found[2], "password": found[3]})
            assert answer.status == 303, answer.body
            session.cookie = answer.fields["Set-Cookie"].partition(";")[0]
            words = ("refused", "whitelisted", "accepted", "denied")
            assert until(lambda: all("<li>" in session.get("/log", word=word).body for word in words))
            if seconds > 60:
                running.send_signal(signal.SIGTERM)
            rest, _ = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 0, rest
    tried = re.search(r"(\d+) connections were tried", rest)
    assert tried, rest
    assert int(tried[1]) > (50 if seconds < 60 else 10)
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"demo-{running.pid}-" not in listed


def test_a_way_that_is_none() -> None:
    done = subprocess.run([sys.executable, "-m", "lab.demo", "e"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "invalid choice: 'e'" in done.stderr


def test_the_picture_is_drawn_by_the_script() -> None:
    """It is small, names no other host, and is what the script makes of its lines."""
    text = picture.PICTURE.read_text(encoding="utf-8")
    assert len(text) < 60 * 1024
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|href|<script", text)
    made = picture.draw(picture.texts(text))
    assert re.findall(r"<tspan.*", text) == re.findall(r"<tspan.*", made)
