"""Whether rules drop what a named counter of theirs counts, read from messages of nf_tables.

The counter alone does not say it: in a dry run the same one counts what the ruleset lets through (docs/trial.md). So
the verdict behind it is looked at (linux/netfilter/nf_tables.h: NFTA_RULE_, NFTA_EXPR_, NFTA_OBJREF_, NFTA_IMMEDIATE_).
"""
from mxallowd.mirrors.kernel.netlink import attributes

NEWRULE, GETRULE = (10 << 8 | number for number in (6, 7))  # NFNL_SUBSYS_NFTABLES is 10
_EXPRESSIONS, _LIST_ELEM, _NAME, _DATA = 4, 1, 1, 2
_COUNTER_NAME, _REGISTER, _VALUE, _VERDICT, _CODE = 2, 1, 2, 2, 1
_VERDICT_REGISTER, _DROP = 0, 0  # NFT_REG_VERDICT; NF_DROP, linux/netfilter.h


def drops(body: memoryview, counter: str) -> bool:
    """Whether the rule in a NEWRULE counts with this counter, and drops or rejects then."""
    counts = False
    for listed in (one for kind, one in attributes(body[4:]) if kind == _EXPRESSIONS):
        for values in (dict(attributes(one)) for kind, one in attributes(listed) if kind == _LIST_ELEM):
            name, data = _text(values.get(_NAME)), dict(attributes(values.get(_DATA, memoryview(b""))))
            if name == "objref":
                counts = counts or _text(data.get(_COUNTER_NAME)) == counter
            elif counts and (name == "reject" or (name == "immediate" and _is_drop(data))):
                return True
    return False


def _is_drop(data: dict[int, memoryview]) -> bool:
    if int.from_bytes(data.get(_REGISTER, b"\1"), "big") != _VERDICT_REGISTER:
        return False
    verdict = dict(attributes(data.get(_VALUE, memoryview(b""))))
    code = dict(attributes(verdict.get(_VERDICT, memoryview(b"")))).get(_CODE)
    return code is not None and int.from_bytes(code, "big") == _DROP


def _text(value: memoryview | None) -> str:
    return bytes(value).rstrip(b"\0").decode("utf-8", "replace") if value is not None else ""
