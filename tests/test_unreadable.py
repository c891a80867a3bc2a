"""What the daemon's user cannot read is found at the start, also what the exporter alone imports."""
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import pytest

from mxallowd.exporter.process import NEEDED

# Looks as another user, with packages of this directory, and prints what was found.
LOOKS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from mxallowd.daemon.unreadable import find_unreadable
from mxallowd.settings import arguments
from mxallowd.settings.loading import load
words = ["-c", "/dev/null", "-f", "192.0.2.1", "-r", "192.0.2.2", "-n", "23", *sys.argv[2:]]
settings = load(arguments.parse(words)[0], bare=False).settings
os.setresuid(4242, 4242, 0)
print(json.dumps([[str(place), why] for place, why in find_unreadable(settings)]))
"""


def looks(place: Path, *arguments: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, str(place), *arguments], capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_the_exporter_alone_imports() -> None:
    with TemporaryDirectory(dir="/tmp") as made:
        place = Path(made)
        place.chmod(0o755)
        closed = []
        for name in NEEDED:
            found = find_spec(name)
            assert found
            assert found.origin
            copytree(Path(found.origin).parent, place / name)
            closed.append(place / name / "__init__.py")
        metrics = ("--metrics", "127.0.0.1:9199")
        assert not {str(one) for one in closed} & looks(place, *metrics).keys()
        for one in closed:
            one.chmod(0o600)
        found_now = looks(place, *metrics)
        for one in closed:
            assert "an exporter of metrics that ends cannot be started again" in found_now[str(one)]
        # Without metrics nobody needs that of prometheus; the daemon itself has imported the other.
        assert str(place / "prometheus_client" / "__init__.py") not in looks(place)
