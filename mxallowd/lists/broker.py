"""The broker's process: besides the paths of the start it opens the list files that the configuration names by now.

    mxallowd.lists.broker CONFIG USER CHANNEL... - VERB:PATH...

A list file may be new in the configuration at a SIGHUP. The daemon asks for it by its path; that is opened if the
configuration, read here and now, has it as a value of `allow` or `deny`. So a daemon that was taken over gets no file
but those that somebody named who may write the configuration (settings/configfile.py: root, and who started mxallowd).
What is opened is opened as the daemon's user, and the daemon looks at who could have replaced it, as at each list file.

Which way it fails: a configuration that cannot be read, or must not be trusted, names nothing.
"""
import sys
from collections.abc import Set
from pathlib import Path

from mxallowd.errors import ConfigError
from mxallowd.process import broker
from mxallowd.settings import configfile

LISTS = ("allow", "deny", "trust")


def named(config: Path) -> Set[str]:
    """The paths of list files in that configuration file, as it is now."""
    found = set[str]()
    try:
        assignments = configfile.read(config).assignments
    except (OSError, ConfigError):
        return found
    for assignment in assignments:
        if assignment.option.name not in LISTS:
            continue
        try:
            value = assignment.option.convert(assignment.text)
        except ValueError:
            continue
        if isinstance(value, Path):
            found.add(str(value))
    return found


if __name__ == "__main__":
    config, *others = sys.argv[1:]
    sys.exit(broker.run(others, lambda: named(Path(config))))
