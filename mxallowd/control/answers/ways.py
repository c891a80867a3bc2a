"""What a SYN meets in ways b, c, d and with pf: the rules of docs/firewall.md, applied to what the sets hold.

Pure functions. The rules are taken to be those of rulesets/ for the way; `mxallowctl doctor` looks at the rules
themselves. A set that the firewall lacks is in no rule, so the next rule counts. Where the sets could not be asked, the
verdict is None: nothing is claimed.
"""
from collections.abc import Mapping
from dataclasses import dataclass

Meets = dict[str, str | None]
"""`verdict` (accept, drop, None: not known), `by` (mxallowd, kernel), `outcome`, `reason`."""

ALONE = ": the kernel decides alone, and mxallowd need not see it"


@dataclass(frozen=True)
class Kernel:
    """What the tables of the firewall said of a host."""

    sets: Mapping[str, bool]  # by the name of the set, such as mx_white4; of all tables
    version: int  # of IP
    pf_table: str | None = None
    fault: str | None = None  # why they could not be asked

    def held(self, *names: str) -> bool:
        """Whether all of these hold the host."""
        return all(self.sets.get(f"{name}{self.version}") for name in names)

    def at_door(self) -> bool:
        """Whether the sets are those of way d, which has no mx_met; door-raw.nft needs no --door."""
        return f"mx_fresh{self.version}" in self.sets and f"mx_met{self.version}" not in self.sets

    def exempts(self) -> bool:
        """Whether the rules pass it by, whoever it is."""
        return self.held("mx_exempt")


def meets(way: str, role: str, decision: Meets, kernel: Kernel | None, *, dry_run: bool) -> Meets:
    """What a SYN to a server of this `role` (fake, real) meets; `decision` is what mxallowd would say to it."""
    if kernel is None or (way == "pf") != (kernel.pf_table is not None):
        return _unknown("not-configured", "no table of pf (pf-table) is configured" if way == "pf" else
                        "no sets of the firewall (nft-table, ipset) are configured")
    if kernel.fault:
        return _unknown("not-asked", f"the firewall's sets could not be asked: {kernel.fault}")
    if way == "pf":
        return _pf(role, decision, kernel)
    if not kernel.sets:
        return _missing(way)
    found = _fake(way, decision, kernel) if role == "fake" else _real(way, decision, kernel)
    if dry_run and found["verdict"] == "drop" and found["by"] == "kernel":
        found["reason"] = f"{found['reason']}; dry run: accepted where the ruleset counts only (docs/trial.md)"
    return found


def _missing(way: str) -> Meets:
    """Not one of the sets is there: the rules that ask them cannot be, either."""
    if way in "cd":
        return _by_kernel("accept", "no-sets", "the firewall has no set of mxallowd: the table is missing, and "
                          "nothing is refused (mxallowctl doctor)")
    return _unknown("no-sets", "the firewall has no set of mxallowd: the table is missing, and with it the rule that "
                    "feeds the queue, if it stands there (mxallowctl doctor)")


def _unknown(outcome: str, reason: str) -> Meets:
    return {"verdict": None, "by": "kernel", "outcome": outcome, "reason": reason}


def _by_kernel(verdict: str, outcome: str, reason: str) -> Meets:
    return {"verdict": verdict, "by": "kernel", "outcome": outcome, "reason": reason}


def _pf(role: str, decision: Meets, kernel: Kernel) -> Meets:
    if role == "fake":
        return dict(decision)
    table = kernel.pf_table
    return (_by_kernel("accept", "in-set", f"the table {table} of pf holds it") if kernel.sets.get(table or "") else
            _by_kernel("drop", "not-in-set", f"the table {table} of pf does not hold it"))


def _fake(way: str, decision: Meets, kernel: Kernel) -> Meets:
    version = kernel.version
    steps = (
        (("mx_direct",), "fake-led", "it is led to the real server where the ruleset does so, and is no contact"),
        (("mx_exempt",), "exempt", "mxallowd does not see it, so this contact does not whitelist it"),
        (("mx_deny",), "fake-denied", "it is rejected there, and mxallowd does not see it"),
        (("mx_white", "mx_fresh"), "fake-known", "it is rejected there, and mxallowd need not see it"))
    # The door stands in front of the rules that lead hosts elsewhere.
    for names, outcome, why in sorted(steps, key=lambda one: way == "d" and one[1] != "fake-denied"):
        if kernel.held(*names):
            return _by_kernel("accept", outcome, f"in {' and '.join(f'{name}{version}' for name in names)}: {why}")
    return dict(decision)


def _real(way: str, decision: Meets, kernel: Kernel) -> Meets:
    version = kernel.version
    for name, verdict, outcome in (("mx_exempt", "accept", "exempt"), ("mx_deny", "drop", "real-denied"),
                                   ("mx_allow", "accept", "real-allowed"), ("mx_used", "accept", "in-set")):
        if kernel.held(name):
            # In ways c and d the rule for denied networks logs, with a limit.
            alone = "" if way != "b" and name == "mx_deny" else ALONE
            return _by_kernel(verdict, outcome, f"in {name}{version}{alone}")
    if way == "b":
        # Nothing in the kernel decides: the packet comes to mxallowd.
        return dict(decision)
    for name, why in (("mx_white", ""), ("mx_met", ": it met the fake server just now"),
                      ("mx_net", ": a contact let in its network"),
                      ("mx_metnet", ": another host of its network met the fake server just now")):
        if kernel.held(name):
            return _by_kernel("accept", "in-set", f"in {name}{version}{why}")
    of_lists = {"real-allowed": f"mx_allow{version}", "real-denied": f"mx_deny{version}"}.get(str(decision["outcome"]))
    lacking = of_lists is not None and of_lists not in kernel.sets
    return _by_kernel("drop", "not-in-set", f"not in mx_white{version}"
                      + (f", and the firewall has no {of_lists}: lists do nothing there" if lacking else ""))


def differences(listed: bool, used: bool, verdict: str | None, kernel: Kernel) -> str | None:
    """How the sets differ from what mxallowd knows of the host; None: they do not. `verdict` is that of the lists."""
    if kernel.pf_table is not None:
        in_set = bool(kernel.sets.get(kernel.pf_table))
    elif f"mx_white{kernel.version}" in kernel.sets:
        in_set = kernel.held("mx_white")
    else:
        return f"there is no set mx_white{kernel.version}"
    if in_set and not listed:
        return ("it is in the kernel's set and not in the whitelist: an entry of your own, or about to be removed, or, "
                "in way d, it met the fake server just now")
    if listed and not in_set:
        return "it is in the whitelist and not in the kernel's set: on its way, or the set was changed by others"
    if used and kernel.sets.get(f"mx_used{kernel.version}") is False:
        return f"it was at the real server and is not in mx_used{kernel.version}: on its way, or changed by others"
    for name in ("allow", "deny"):
        held = kernel.sets.get(f"mx_{name}{kernel.version}")
        if held is not None and held != (verdict == name):
            return f"the lists and mx_{name}{kernel.version} differ: a change is on its way, or was made by others"
    return None
