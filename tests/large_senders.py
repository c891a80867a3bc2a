"""Records in the shape that large senders of mail have: nested includes, a redirect, long texts, names with aliases.

Each lets a host of 192.0.2.0/24 or 2001:db8::/32 send, behind all else; networks of 198.18.0.0/15 fill them.
"""


def _text(name: str, terms: str) -> str:
    """A TXT record, cut into strings wherever that falls, as name servers do."""
    record = f"v=spf1 {terms}"
    return f"{name} TXT {'|'.join(record[at : at + 255] for at in range(0, len(record), 255))}"


def _blocks(number: int, count: int) -> str:
    return " ".join(f"ip4:198.{18 + number // 8}.{number % 8 * 32 + at // 8}.{at % 8 * 32}/28" for at in range(count))


def records(network: str, network6: str, host: str) -> list[str]:
    """Lines for the tests' name server. Three domains: mailbox.example (its third include has `network`, `network6`),
    office.example (a long text, which ends in the same) and letters.example (mx and a, with an alias: `host`)."""
    ends = f"ip4:{network} ip6:{network6}"
    return [
        "mailbox.example TXT v=spf1 redirect=_spf.mailbox.example",
        "_spf.mailbox.example TXT v=spf1 include:_netblocks.mailbox.example include:_netblocks2.mailbox.example"
        " include:_netblocks3.mailbox.example ~all",
        _text("_netblocks.mailbox.example", f"{_blocks(0, 12)} ~all"),
        _text("_netblocks2.mailbox.example", " ".join(f"ip6:2001:db8:{n}000::/36" for n in range(2, 8)) + " ~all"),
        _text("_netblocks3.mailbox.example", f"{_blocks(1, 40)} {ends} ~all"),
        _text("office.example", f"{_blocks(2, 120)} include:spfd.office.example -all"),
        _text("spfd.office.example", f"{_blocks(3, 100)} {ends} -all"),
        "letters.example TXT v=spf1 mx/28 include:spf1.letters.example a:out.letters.example exists:%{i}.example -all",
        "letters.example TXT site-verification=0123456789", "letters.example MX 10 mx1.letters.example",
        "letters.example MX 20 mx2.letters.example", "mx1.letters.example A 198.19.200.1",
        "mx2.letters.example CNAME mx1.letters.example", "out.letters.example CNAME out.office.example",
        f"out.office.example A {host}", _text("spf1.letters.example", f"{_blocks(4, 200)} ?all")]
