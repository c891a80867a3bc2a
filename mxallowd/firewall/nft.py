"""A ruleset file for nft with the values that are wanted.

Lines of the files that begin with a word of OPTIONAL are comments until their option is chosen. Some of them come in
place of the rules above them.
"""
import ipaddress
import itertools
import re
import shlex
from collections.abc import Callable

from mxallowd.firewall.wanted import GROUP, OUTBOUND_GROUP, OUTBOUND_TABLE, PORT, QUEUE, TABLE, Wanted

OPTIONAL: dict[str, Callable[[Wanted], bool]] = {
    "net": lambda wanted: wanted.network_key is not None,
    "direct": lambda wanted: wanted.direct,
    "use": lambda wanted: wanted.renew in ("use", "both"),
    # In a trial nobody is refused, with a RST neither.
    "reset": lambda wanted: wanted.reset and not wanted.dry_run,
    "dry": lambda wanted: wanted.dry_run,
    "mark": lambda wanted: wanted.verdict_mark is not None,
}
BY_HAND = ("notrack", "syn")  # words that no option of mxallowd's stands for
IN_PLACE = ("use", "dry")  # of as many rules above
_OPTIONAL = re.compile(rf"(\t*)#({'|'.join(OPTIONAL)}) (.*)", re.DOTALL)
# What the files say to who edits them, and what holds where it is done.
_DONE = {
    "net": (re.compile(r'# With --network-key: remove .*\n'), "# The masks of --network-key.\n"),
    "direct": (re.compile(r"\t# With first-mx-only, .*\n.*\(sed .*\n"),
               "\t# They lead these hosts from the fake server to the real one, before anything is decided.\n"),
}
# A word that is no other to nft; all others are safe in quotes.
_PLAIN_INTERFACE = re.compile(r"eth[0-9]+")


def render(text: str, wanted: Wanted) -> str:
    """The text of a file of rulesets/*.nft with the wanted values. Raises ValueError: Wanted.known."""
    return _values(_without_families(_with_options(text, wanted), wanted), wanted)


def _with_options(text: str, wanted: Wanted) -> str:
    """With the lines of the options that are chosen as rules."""
    chosen = {word for word, is_chosen in OPTIONAL.items() if is_chosen(wanted)}
    for word in chosen & _DONE.keys():
        text = _DONE[word][0].sub(_DONE[word][1], text)
    lines: list[str] = []
    for word, run in itertools.groupby(text.splitlines(keepends=True), lambda line: _chosen(line, chosen)):
        if not word:
            lines += run
            continue
        taken = [_OPTIONAL.sub(r"\1\3", line) for line in run]
        if word in IN_PLACE:
            # What stands in front of them says what to edit, and behind a colon perhaps why.
            reason = lines.pop().partition(": ")[2]
            for _ in taken:
                del lines[max(place for place, line in enumerate(lines) if not line.lstrip("\t").startswith("#"))]
            if reason:
                indent = "\t" * (len(taken[0]) - len(taken[0].lstrip("\t")))
                lines.append(f"{indent}# {reason[0].upper()}{reason[1:]}")
        lines += taken
    return "".join(lines)


def _chosen(line: str, words: set[str]) -> str:
    """The word of the option that makes this line a rule; empty where it stays what it is."""
    found = _OPTIONAL.fullmatch(line)
    return found[2] if found and found[2] in words else ""


def _without_families(text: str, wanted: Wanted) -> str:
    """Without the lines of servers that there are none of: an empty set is a mistake to nft."""
    for family, protocol in ((4, "ip"), (6, "ip6")):
        missing = [kind for kind in ("fake", "real", "direct") if not wanted.servers(kind, family)]
        here = [f"$fake{family}", f"$real{family}"]
        left = [name for name in here if name[1:-1] not in missing]
        text = text.replace(f"{{ {', '.join(here)} }}", f"{{ {', '.join(left)} }}")
        gone = [rf"\${kind}{family}\b|\bdefine {kind}{family}\b" for kind in missing]
        if not left:
            gone.append(rf"(?<![\w-]){protocol} (?:saddr|daddr|frag-off) |\bdefine mask{family}\b")
        if gone:
            pattern = re.compile("|".join(gone))
            text = "".join(line for line in text.splitlines(keepends=True)
                           if re.match(r"\t*# ", line) or not pattern.search(line))
    return text


def _values(text: str, wanted: Wanted) -> str:
    for family in (4, 6):
        for kind in ("fake", "real", "direct"):
            addresses = _set(wanted.servers(kind, family))
            text = re.sub(rf"^(define {kind}{family} =) .*$", rf"\1 {addresses}", text, flags=re.MULTILINE)
        if wanted.network_key:
            mask = _mask(family, wanted.network_key[family == 6])
            text = re.sub(rf"^(define mask{family} =) .*$", rf"\1 {mask}", text, flags=re.MULTILINE)
    first, last = wanted.queues[0], wanted.queues[-1]
    edits = {
        f"queue num {QUEUE} bypass": f"queue num {first}{'' if first == last else f'-{last}'} bypass",
        "meta mark & 0x40000000 == 0x40000000 reject": f"{_match(wanted.refuse_mark)} reject",
        "devices = { eth0 }": f"devices = {{ {', '.join(map(_interface, wanted.doors))} }}",
    }
    if wanted.verdict_mark:
        edits["meta mark & 0x20000000 == 0x20000000 return"] = f"{_match(wanted.verdict_mark)} return"
    if "meta mark or 0x10000000" in text:
        edits["meta mark or 0x10000000"] = f"meta mark or {wanted.known:#x}"
    if OUTBOUND_TABLE in text:
        edits[f"log group {OUTBOUND_GROUP} "] = f"log group {wanted.outbound} "
    else:
        edits[f"log group {GROUP} "] = f"log group {wanted.group} "
        ports = _set(tuple(map(str, wanted.ports)))
        edits |= {f"tcp {side} {PORT} ": f"tcp {side} {ports} " for side in ("dport", "sport")}
    for old, new in edits.items():
        text = text.replace(old, new)
    text = re.sub(r"\bsize ([23]\d{6})\b", lambda found: f"size {wanted.grown(int(found[1]))}", text)
    return said(text, wanted)


def _mask(family: int, bits: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    size = 32 if family == 4 else 128
    value = (1 << size) - (1 << size - bits)
    return ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value)


def _match(mark: tuple[int, int]) -> str:
    return f"meta mark & {mark[1]:#x} == {mark[0]:#x}"


def said(text: str, wanted: Wanted) -> str:
    """The text with the daemon's options in its comments, and with the name of the table everywhere."""
    first, last = wanted.queues[0], wanted.queues[-1]
    doors = " ".join(f"--door {shlex.quote(name)}" for name in wanted.doors)
    for old, new in (
            (f"mxallowd --queue-num {QUEUE} ", f"mxallowd --queue-num {first}{'' if first == last else f':{last}'} "),
            (f"--pflog-interface nflog:{GROUP} ", f"--pflog-interface nflog:{wanted.group} "),
            (f"--learn-outbound nflog:{OUTBOUND_GROUP}", f"--learn-outbound nflog:{wanted.outbound}"),
            ("--door eth0 ", f"{doors} ")):
        text = text.replace(old, new)
    return re.sub(rf"\b{TABLE}\b", wanted.table, text)


def _set(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{{ {', '.join(words)} }}"


def _interface(name: str) -> str:
    return name if _PLAIN_INTERFACE.fullmatch(name) else f'"{name}"'
