"""Reading everything that says how the daemon is to work: the command line, then the file it names.

Both the start and SIGHUP use it, so a reload reads the same settings as a restart.
"""
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mxallowd.errors import ConfigError
from mxallowd.settings import SERVERS, Assignment, Problem, Settings, build, configfile
from mxallowd.settings.options import DEFAULT_CONFIG
from mxallowd.text import quoted

# Who gave none of these, and has no line in the file, has not set up mxallowd yet. All else is a mistake: a line that
# is nearly one of these must not look as if nobody had written it.
FIRST_STEPS = frozenset({*SERVERS, "queue-num", "pflog-interface"})


@dataclass(frozen=True)
class Loaded:
    """What was read: settings unless a problem is fatal, and all problems."""

    settings: Settings | None
    problems: tuple[Problem, ...]
    unfilled: Path | None = None  # the configuration file, where no line of it and nothing beside it sets anything up

    @property
    def fatal(self) -> list[Problem]:
        """The problems that forbid a start."""
        return [problem for problem in self.problems if problem.fatal]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that are passed over."""
        return [problem for problem in self.problems if not problem.fatal]


def load(command_line: Sequence[Assignment], *, bare: bool, assumed: Sequence[Assignment] = ()) -> Loaded:
    """Read the configuration file and put the command line over it. `bare`: there were no arguments at all.

    `assumed` counts where neither says something else.
    """
    named = [assignment for assignment in command_line if assignment.option.name == "config"]
    path = _path(named[-1]) if named else Path(DEFAULT_CONFIG)
    problems: list[Problem] = []
    path_exists = True
    from_file: list[Assignment] = []
    active = False
    try:
        if path is not None:
            from_file, problems, active = configfile.read(path)
    except FileNotFoundError:
        path_exists = False
        # Without the default file the command line may say it all; one that was asked for must be there.
        if named or bare:
            message = f"cannot read {quoted(str(path))}: no such file"
            problems = [Problem("configuration", message, missing=bare)]
    except ConfigError as error:
        problems = [Problem("configuration", str(error))]
    settings, more = build([*assumed, *from_file, *command_line])
    problems += more
    # Where the file could not be read, what it would have given is not "missing".
    if any(problem.where == "configuration" for problem in problems):
        problems = [problem for problem in problems if problem.where != "settings" or not problem.missing]
    if not named and not bare and not path_exists:
        problems = [replace(problem, message=f"{problem.message}, and there is no {path}")
                    if problem.missing else problem for problem in problems]
    # In the order of the file; what is of no line stands behind.
    problems.sort(key=lambda problem: problem.line or sys.maxsize)
    fatal = [problem for problem in problems if problem.fatal]
    given = {assignment.option.name for assignment in command_line}
    untouched = path_exists and not active and not given & FIRST_STEPS and all(problem.missing for problem in fatal)
    return Loaded(None if fatal else settings, tuple(problems), path if fatal and untouched else None)


def _path(assignment: Assignment) -> Path | None:
    try:
        path = assignment.option.convert(assignment.text)
    except ValueError:
        # build() converts it once more and reports it with all else.
        return None
    assert isinstance(path, Path)
    return path
