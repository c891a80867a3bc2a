"""Giving up privileges, for good, once everything that needs them is open.

The order: the capabilities that could ever come back (bounding set), the groups, the user, the capabilities
themselves; after that the sandbox (sandbox.py). It is done before any thread exists: capabilities belong to a thread
and what it starts. Of the capabilities CAP_NET_ADMIN stays: without it no verdict is taken
(net/netfilter/nfnetlink.c checks it for every message).

Which way it fails: a user that was asked for and is not there, and a kernel that refuses to take a privilege away, end
the start. Where nobody asked for a user, it becomes one without privileges in any case: a root without capabilities
still owns root's files and processes.
"""
import errno
import os
import pwd
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.process.libc import call, prctl
from mxallowd.text import quoted

CAP_SETPCAP, CAP_NET_ADMIN = 8, 12  # linux/capability.h
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 8, 23, 24  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
DEFAULT_USER, ANY_USER = "mxallowd", "nobody"
ANY_ID = 65534  # nobody's, where there is not even that user
NICENESS = -11  # that of the watching thread (c_threads.pxd); the queue threads lower theirs to -10


def give_up(
    user: str | None, keep: Iterable[int] = (CAP_NET_ADMIN,), *, groups: Iterable[int] = (),
) -> list[str]:
    """Become `user` where this is root, with these capabilities alone; warnings.

    A name or a number; None: DEFAULT_USER, where there is such a user, else nobody. Besides the user's own group it is
    a member of `groups`. Raises StartError.
    """
    keep, groups = frozenset(keep), list(groups)
    account = account_of(user)
    try:
        # A process of ours that is started again has not even this one.
        if CAP_SETPCAP in _capabilities("CapPrm"):
            _shrink_bounding_set(keep)
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # A helper that is started again has none any more, and may not set any.
        if os.geteuid() == 0 and (groups or os.getgroups()):
            os.setgroups(groups)
        if account is not None:
            prctl(_PR_SET_KEEPCAPS, 1)
            os.setresgid(account.group, account.group, account.group)
            os.setresuid(account.user, account.user, account.user)
        # Whoever started us may have left us just these, and no way to set any.
        if _capabilities("CapPrm") != keep:
            _set_capabilities(keep & _capabilities("CapPrm"))
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        # A container may have taken these two from its root.
        needed = ("; to become another user takes CAP_SETUID and CAP_SETGID, --user root does without"
                  if account is not None and error.errno == errno.EPERM else "")
        raise StartError(f"cannot give up privileges: {error.strerror}{where}{needed}") from None
    return [account.warning] if account is not None and account.warning else []


@dataclass(frozen=True)
class Account:
    """Whom to become: ids, the name for people, and what is to be said about it."""

    user: int
    group: int
    name: str
    warning: str = ""


def account_of(user: str | None) -> Account | None:
    """Whom the daemon becomes; None: it stays who it is. Raises StartError."""
    if os.geteuid() != 0:
        return None
    if user is None:
        return _least()
    account = _known(user)
    if account is None:
        if not user.isdecimal():
            raise StartError(f"there is no user {quoted(user)}")
        # As in a container: an id is enough, and its group has the same.
        account = Account(int(user), int(user), user)
    return None if account.user == 0 else account


def groups_of(user: str) -> list[int]:
    """The groups that a user is a member of, by the system's word; of one that is a number alone, none."""
    account = _known(user)
    return [] if account is None else os.getgrouplist(account.name, account.group)


def _least() -> Account:
    account = _known(DEFAULT_USER)
    if account is not None and account.user != 0:
        return account
    why = f"there is no user {DEFAULT_USER}" if account is None else f"the user {DEFAULT_USER} is root"
    account = _known(ANY_USER)
    if account is None or account.user == 0:
        account = Account(ANY_ID, ANY_ID, ANY_USER)
    return replace(account, warning=f"{why}: it becomes {ANY_USER}, and other programs of that user may end it; "
                                    f"create the user {DEFAULT_USER}")


def id_of_any() -> int:
    """The id of the user that the daemon becomes where it has none of its own."""
    account = _known(ANY_USER)
    return ANY_ID if account is None else account.user


def _known(user: str) -> Account | None:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        # The C library says "unknown" as well where it could open nothing; then the reason is raised here.
        with suppress(FileNotFoundError, PermissionError), Path("/etc/passwd").open("rb"):
            pass
        if not user.isdecimal():
            return None
        try:
            found = pwd.getpwuid(int(user))
        except KeyError:
            return None
    return Account(found.pw_uid, found.pw_gid, found.pw_name)


def raise_priority() -> None:
    """Let the threads that are started next have the priority of the packet path, while that is still allowed."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def usual_priority() -> None:
    """Back to the usual one, for this thread and what it starts from now on."""
    if os.getpriority(os.PRIO_PROCESS, 0) == NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def may_administer_network() -> bool:
    """Whether this thread may do what a queue needs."""
    try:
        return CAP_NET_ADMIN in _capabilities("CapEff")
    except OSError:
        # There is no /proc.
        return os.geteuid() == 0


def _capabilities(kind: str) -> frozenset[int]:
    """This thread's capabilities: CapPrm, which it may have, or CapEff, which it has (proc(5)). Raises OSError."""
    text = Path("/proc/thread-self/status").read_text(encoding="utf-8")
    words = next(line.split() for line in text.splitlines() if line.startswith(f"{kind}:"))
    bits = int(words[1], 16)
    return frozenset(number for number in range(64) if bits >> number & 1)


def _shrink_bounding_set(keep: frozenset[int]) -> None:
    for number in range(64):
        try:
            there = prctl(_PR_CAPBSET_READ, number)
        except OSError:
            # The kernel has no capability of that number, nor of a higher one.
            return
        if there and number not in keep:
            prctl(_PR_CAPBSET_DROP, number)


def _set_capabilities(keep: Iterable[int]) -> None:
    bits = sum(1 << number for number in keep)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; the lower 32 of each, then the higher.
    call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))
