"""python -m release: the steps of scripts/wheels and scripts/release, one a command.

    epoch                         the time that a release has in it, seconds since 1970
    sdist SOURCE DIRECTORY        write a source distribution once more, equal each time
    wheel SOURCE DIRECTORY        the same of a wheel, with the licences of its libraries
    licences PATH...              print the licences of all that wheels, or directories of packages, hold
    sbom SUBJECT VERSION PATH...  print the bill of materials of the same (CycloneDX)
"""
import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from release import archives, epoch, licences, parts

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the command of these arguments; the exit status."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("epoch")
    for name in ("sdist", "wheel"):
        command = commands.add_parser(name)
        command.add_argument("source", type=Path, metavar="SOURCE")
        command.add_argument("directory", type=Path, metavar="DIRECTORY")
    commands.add_parser("licences").add_argument("paths", type=Path, nargs="+", metavar="PATH")
    command = commands.add_parser("sbom")
    command.add_argument("subject", metavar="SUBJECT")
    command.add_argument("version", metavar="VERSION")
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    given = parser.parse_args()
    try:
        _run(given)
    except (OSError, ValueError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.command == "epoch":
        print(epoch.seconds(ROOT))
    elif given.command == "sdist":
        archives.sdist(given.source, given.directory / given.source.name, epoch.seconds(ROOT))
    elif given.command == "wheel":
        texts: dict[str, bytes] = {}
        for part in parts.of(given.source):
            if part.kind == "deb":
                texts |= parts.system_texts(part)
        archives.wheel(given.source, given.directory / given.source.name, epoch.seconds(ROOT), texts)
    elif given.command == "licences":
        sys.stdout.write(licences.text(_all(given.paths)))
    else:
        # What makes it is no part of Python, and is needed here alone.
        from release import sbom  # noqa: PLC0415

        sys.stdout.write(sbom.document(given.subject, given.version, _all(given.paths), epoch.seconds(ROOT)))


def _all(paths: Iterable[Path]) -> list[parts.Part]:
    """The parts of all of them, each once."""
    return list(dict.fromkeys(part for path in paths for part in parts.of(path)))


if __name__ == "__main__":
    sys.exit(main())
