"""A program for a host of the lab: start the daemon, end it by SIGKILL at some moment, and that many times.

    kills.py STATE-DIRECTORY KILLS ARGUMENT...

Each daemon is a fork of this process, which has imported all of it, so that a start takes some 20 ms in place of 200.
It prints one object of JSON: hosts whose contact a daemon had logged at least a second before its end, how many
daemons were serving when they were killed, and how often each first word was logged.
"""
import json
import os
import random
import re
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import mxallowd.backends.nfqueue
import mxallowd.daemon.start  # noqa: F401  # what the daemon imports
from mxallowd import cli

LOST_S = 1.0
LONG = 50  # every so many daemons one lives longer than that
SERVED, SERVES_AFTER_S = 10, 3.0  # and of so many one is killed after it has begun to serve
WHITELISTED = re.compile(r"whitelisted \[([0-9.]+)\]")


def life(arguments: list[str], seconds: float, *, served: bool) -> list[tuple[float, str]]:
    """One daemon; its lines with the moment in which they came, counted from its end backwards.

    `served`: the seconds count from that moment on in which it serves.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os._exit(cli.main(arguments))
    os.close(writing)
    end = time.monotonic() + (SERVES_AFTER_S if served else seconds)
    came: list[tuple[float, bytes]] = []
    while (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            if not (data := os.read(reading, 1 << 16)):
                break
            came.append((time.monotonic(), data))
            if served and b" - start " in data:
                end = time.monotonic() + seconds
    killed = time.monotonic()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while data := os.read(reading, 1 << 16):
        came.append((killed, data))
    os.close(reading)
    lines: list[tuple[float, str]] = []
    rest = b""
    for moment, data in came:
        *whole, rest = (rest + data).split(b"\n")
        lines += [(killed - moment, line.decode().partition(" - ")[2]) for line in whole]
    return lines


def main(directory: str, kills: int, arguments: list[str]) -> None:
    """Kill so many."""
    chance = random.Random(Path(directory).name)
    safe: set[str] = set()
    words: Counter[str] = Counter()
    serving = 0
    for number in range(kills):
        seconds = 1.3 + chance.uniform(0, 0.3) if number % LONG == 0 else chance.uniform(0, 0.1)
        lines = life([*arguments, "--state-dir", directory], seconds, served=number % SERVED == 1)
        words.update(line.split(" ")[0] for _, line in lines)
        serving += any(line.startswith("start ") for _, line in lines)
        safe |= {match[1] for age_s, line in lines if age_s >= LOST_S and (match := WHITELISTED.match(line))}
    print(json.dumps({"safe": sorted(safe), "serving": serving, "words": words}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
