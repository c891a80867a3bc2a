"""Whom the daemon becomes: by name, by number, and where nobody says it, with each kind of /etc/passwd there is."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
SCRIPT = """
import json, os, sys
from mxallowd.errors import StartError
from mxallowd.process import privileges
try:
    warnings = privileges.give_up(sys.argv[1] or None)
except StartError as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), warnings]))
"""
ROOT, NOBODY = "root:x:0:0::/:/bin/sh\n", "nobody:x:65534:65534::/:/bin/sh\n"
HERS = "mxallowd:x:990:991::/:/bin/sh\n"


def became(tmp_path: Path, passwd: str, user: str = "") -> object:
    """What SCRIPT prints where /etc/passwd has that content."""
    file = tmp_path / "passwd"
    file.write_text(passwd, encoding="ascii")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'mount --bind {file} /etc/passwd && exec "$0" "$@"', sys.executable, "-c",
         SCRIPT, user], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    found: object = json.loads(done.stdout)
    return found


def ids(user: int, group: int, *warnings: str) -> object:
    return [[user] * 3, [group] * 3, [], list(warnings)]


SAID = "{}: it becomes nobody, and other programs of that user may end it; create the user mxallowd"


@pytest.mark.parametrize(("passwd", "expected"), [
    (ROOT + NOBODY + HERS, ids(990, 991)),
    (ROOT + NOBODY, ids(65534, 65534, SAID.format("there is no user mxallowd"))),
    (ROOT + "nobody:x:99:98::/:/bin/sh\n", ids(99, 98, SAID.format("there is no user mxallowd"))),
    (ROOT, ids(65534, 65534, SAID.format("there is no user mxallowd"))),
    (ROOT + NOBODY + "mxallowd:x:0:0::/:/bin/sh\n", ids(65534, 65534, SAID.format("the user mxallowd is root"))),
    (ROOT + "nobody:x:0:0::/:/bin/sh\n", ids(65534, 65534, SAID.format("there is no user mxallowd"))),
    ("", ids(65534, 65534, SAID.format("there is no user mxallowd")))],
    ids=["dedicated", "nobody", "another-nobody", "none", "root-by-that-name", "root-is-nobody", "empty"])
def test_without_a_word_it_is_never_root(tmp_path: Path, passwd: str, expected: object) -> None:
    assert became(tmp_path, passwd) == expected


@pytest.mark.parametrize(("user", "expected"), [
    ("nobody", ids(65534, 65534)), ("990", ids(990, 991)), ("mxallowd", ids(990, 991)), ("12345", ids(12345, 12345)),
    ("4294967294", ids(4294967294, 4294967294)), ("root", ids(0, 0)), ("0", ids(0, 0)),
    ("nosuch", 'there is no user "nosuch"')])
def test_a_user_that_was_asked_for(tmp_path: Path, user: str, expected: object) -> None:
    assert became(tmp_path, ROOT + NOBODY + HERS, user) == expected
