"""A stand-in for pfctl(8): `pfctl_standin.py DIRECTORY ARGUMENT...`.

It knows the syntax that FreeBSD, OpenBSD and NetBSD have in common for tables, and refuses every other word. A file in
the directory is a table; each call is recorded in `calls`, with its input, in order. The file `limit` is as "set limit
table-entries" is in pf.conf, `rejects` has addresses that the kernel takes into no table, and with `read-only` no table
may be changed.
"""
import json
import socket
import sys
from pathlib import Path

directory, words = Path(sys.argv[1]), sys.argv[2:]


def record(given: list[str]) -> None:
    """Note the call."""
    with (directory / "calls").open("a", encoding="ascii") as file:
        file.write(json.dumps([words, given]) + "\n")


def fail(text: str, status: int = 1) -> None:
    """End as pfctl does."""
    print(text, file=sys.stderr)
    sys.exit(status)


def addresses() -> list[str]:
    """The list on standard input, one address a line; as strict as pfctl, which takes names, too, but not from us."""
    given = sys.stdin.read().split("\n")
    if given.pop() != "" or not given:
        fail("pfctl: an empty list, or a last line that does not end")
    for one in given:
        family = socket.AF_INET6 if ":" in one else socket.AF_INET
        if socket.inet_ntop(family, socket.inet_pton(family, one)) != one:
            fail("pfctl: no address in its usual form")
    return given


def main() -> None:
    """One call."""
    quiet = words[:1] == ["-q"]
    rest = words[quiet:]
    if rest == ["-s", "Tables"]:
        record([])
        print("\n".join(sorted(path.name for path in directory.iterdir() if path.name.startswith("mx-"))))
        return
    if len(rest) < 4 or rest[0] != "-t" or rest[2] != "-T":
        fail(f"pfctl: unknown syntax {words}")
    table, command, more = directory / rest[1], rest[3], rest[4:]
    given = addresses() if command in ("add", "delete", "replace", "test") and more == ["-f", "-"] else []
    record(given)
    if not table.exists():
        fail("pfctl: Table does not exist.")
    known = set(table.read_text(encoding="ascii").split())
    if (command, more) == ("show", []):
        print("\n".join(f"   {one}" for one in sorted(known)))
        return
    if (command, more) == ("flush", []):
        after: set[str] = set()
    elif more != ["-f", "-"]:
        fail(f"pfctl: unknown syntax {words}")
    elif command == "test":
        print(f"{len(known & set(given))}/{len(given)} addresses match." if not quiet else "", file=sys.stderr)
        sys.exit(0 if known >= set(given) else 2)
    elif command in ("add", "delete", "replace"):
        if (directory / "read-only").exists():
            fail("pfctl: /dev/pf: Permission denied")
        rejects = directory / "rejects"
        if command != "delete" and rejects.exists() and set(given) & set(rejects.read_text(encoding="ascii").split()):
            fail("pfctl: Invalid argument.")
        after = {"add": known | set(given), "delete": known - set(given), "replace": set(given)}[command]
    else:
        fail(f"pfctl: unknown command {command}")
    limit = directory / "limit"
    if limit.exists() and len(after) > int(limit.read_text(encoding="ascii")):
        fail("pfctl: Cannot allocate memory.")
    # The kernel replaces a table in one step.
    new = directory / "new"
    new.write_text("\n".join(sorted(after)), encoding="ascii")
    new.rename(table)


main()
