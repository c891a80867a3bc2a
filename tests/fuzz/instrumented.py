"""A target of interpreted.py under atheris: `python -m tests.fuzz.instrumented TARGET`, then libFuzzer's arguments."""
import functools
import sys
from unittest import mock

import atheris

# Only the package itself: what is measured is where its own parsers get to.
with atheris.instrument_imports(include=["mxallowd"]):
    from mxallowd.settings import arguments
    from tests.fuzz.interpreted import TARGETS

if __name__ == "__main__":
    # The parser of the command line is the same each time, and to make it takes ten times as long as to use it.
    mock.patch.object(arguments, "_parser", functools.cache(arguments._parser)).start()
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
