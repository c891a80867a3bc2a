"""A ruleset file for iptables, a shell script, with the values that are wanted: its variables are set anew."""
import re

from mxallowd.firewall.nft import said
from mxallowd.firewall.wanted import GROUP, OUTBOUND_GROUP, PORT, Wanted


def render(text: str, wanted: Wanted) -> str:
    """The text of a file of rulesets/*.sh with the wanted values. Raises ValueError: wanted.known.

    Where the file has no variable for a value, the value makes no difference to its rules.
    """
    first, last = wanted.queues[0], wanted.queues[-1]
    captures = "subchains=\"MXALLOWD_FAKE" in text  # way c): the rules themselves refuse
    refuse = "RETURN" if captures and wanted.dry_run else "REJECT" if wanted.reset and not wanted.dry_run else "DROP"
    edits = [
        ('fake4="192.0.2.10" fake6="2001:db8::10"', _both("fake", wanted)),
        ('real4="192.0.2.20" real6="2001:db8::20"', _both("real", wanted)),
        ('queue="--queue-num 23 ', f'queue="--queue-balance {first}:{last} ' if first != last else
         f'queue="--queue-num {first} '),
        (f"--nflog-group {GROUP} ", f"--nflog-group {wanted.group} "),
        (f"--nflog-group {OUTBOUND_GROUP} --nflog-size", f"--nflog-group {wanted.outbound} --nflog-size"),
        ("\nrenew=contact ", f"\nrenew={wanted.renew} "),
        ("\nrefuse=DROP ", f"\nrefuse={refuse} "),
        ("\nrefused=0x40000000/0x40000000 ", f"\nrefused={_mark(wanted.refuse_mark)} "),
        ("maxelem 2000000", f"maxelem {wanted.grown(2_000_000)}"),
    ]
    if "\nknown=" in text:
        edits.append(("\nknown=0x10000000/0x10000000 ", f"\nknown={_mark((wanted.known, wanted.known))} "))
    if wanted.network_key:
        edits.append(('\nkey="" ', '\nkey="{}/{}" '.format(*wanted.network_key)))
    if wanted.verdict_mark and not captures:
        edits.append(('\nmark="" ', f'\nmark="{_mark(wanted.verdict_mark)}" '))
    if wanted.direct and "stay empty" not in text:
        edits.append(('\ndirect4="" direct6="" ', f"\n{_both('direct', wanted)} "))
    for old, new in edits:
        text = text.replace(old, new)
    if "\nfake4=" in text:
        text = re.sub(rf"--([ds])port {PORT}\b", lambda found: _ports(found[1], wanted), text)
    return said(text, wanted)


def _ports(side: str, wanted: Wanted) -> str:
    """The match of iptables for the ports of destinations ("d") or sources ("s")."""
    if len(wanted.ports) == 1:
        return f"--{side}port {wanted.ports[0]}"
    return f"-m multiport --{side}ports {','.join(map(str, wanted.ports))}"


def _both(kind: str, wanted: Wanted) -> str:
    return " ".join(f'{kind}{family}="{" ".join(wanted.servers(kind, family))}"' for family in (4, 6))


def _mark(mark: tuple[int, int]) -> str:
    return f"{mark[0]:#x}/{mark[1]:#x}"
