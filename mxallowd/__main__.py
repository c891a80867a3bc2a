"""The command, also as python -m mxallowd: cli.main(), or one line where the compiled modules are not there."""
import sys

from mxallowd import built
from mxallowd.process import streams


def main() -> int:
    """Run the command with the arguments of the process; its exit status."""
    problem = built.problem()
    if problem:
        streams.open_standard()
        streams.write(sys.stderr, f"mxallowd: {problem}: {built.remedy(built.PACKAGE.parent)}\n")
        return 1
    # It imports what is compiled.
    from mxallowd import cli  # noqa: PLC0415

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
