"""The sample configuration: every option with help, range and default, in groups; nothing is set in it.

`mxallowd --print-config` prints it, and in packages it is /etc/mxallowd.conf. A line that can be switched on has the
mark of a comment directly before the name of its option, and prose has a blank behind it. Of an option that we
recommend it has the value of data/recommended.conf. There is no version in it: a configuration file of a package that
changes with each release is one more question at each upgrade.
"""
import textwrap
from importlib import resources

from mxallowd.settings.options import BY_NAME, Kind, Option

WIDTH = 79
HEAD = """\
# Configuration of mxallowd: all its options, none of them set.
#
# To set an option, take away the "#" before its name. At the least: one
# fake-mailserver, one real-mailserver and queue-num (or pflog-interface). Then
#
#     mxallowd --check                     says what is wrong with this file
#     mxallowd --print-ruleset a           prints the firewall's rules for it
#
# One option a line: its name, white space, its value. A comment is a line of
# its own. "Example" is to be replaced, "Default" is what holds without the
# line, "Recommended" is what we advise. What follows a reload is taken over by
# "mxallowctl reload"; all else needs a restart. mxallowd.conf(5) says more.
"""
# Every option of the configuration file, in the order in which an operator meets them.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Mail servers", ("fake-mailserver", "real-mailserver")),
    ("Where packets come from: the kernel's queue, or a capture",
     ("queue-num", "queue-length", "on-overload", "pflog-interface", "pcap-filter")),
    ("How long a host stays in", ("whitelist-time", "renew", "proven-time")),
    ("Who comes in besides",
     ("patience", "patience-network", "network-key", "pool-domain", "direct-after", "direct-table", "learn-outbound",
      "allow", "deny", "trust")),
    ("What becomes of refused and of accepted packets", ("dry-run", "refuse", "refuse-mark", "verdict-mark")),
    ("Sets of the firewall that hold the whitelist",
     ("nft-table", "nft-setup", "door", "ipset", "pf-table", "flush-on-exit")),
    ("Names of hosts",
     ("no-rdns-whitelist", "rdns-unconfirmed", "rdns-max-children", "dns-server", "dns-rate", "dns-zone-rate",
      "dns-query-rate")),
    ("One whitelist for several gateways",
     ("fleet", "fleet-site", "fleet-key-file", "fleet-origin", "fleet-login-file", "fleet-ca-file", "fleet-cert-file",
      "fleet-cert-key-file")),
    ("Log, control, metrics",
     ("stdout", "quiet", "log-format", "log-hosts", "control", "control-change-group", "metrics")),
    ("State, memory and process",
     ("state-dir", "max-entries", "max-refused", "user", "pid-file", "foreground", "no-watchdog", "no-sandbox")),
)
# Where there is no default to show.
EXAMPLES = {
    "fake-mailserver": ("192.0.2.10", "2001:db8::10"),
    "real-mailserver": ("192.0.2.20", "2001:db8::20"),
    "queue-num": ("23",),
    "pflog-interface": ("nflog:5",),
    "learn-outbound": ("nflog:6",),
    "allow": ("203.0.113.0/24",),
    "deny": ("198.51.100.0/24",),
    "trust": ("/etc/mxallowd/trusted-senders",),
    "verdict-mark": ("0x20000000/0x20000000",),
    "nft-table": ("inet mxallowd",),
    "door": ("eth0",),
    "pf-table": ("mx-white",),
    "dns-server": ("127.0.0.1",),
    "fleet": ("rediss://198.51.100.53:6379",),
    "fleet-site": ("example",),
    "fleet-key-file": ("/etc/mxallowd/fleet.key",),
    "fleet-origin": ("mx1",),
    "fleet-login-file": ("/etc/mxallowd/fleet.login",),
    "fleet-ca-file": ("/etc/mxallowd/fleet-ca.pem",),
    "fleet-cert-file": ("/etc/mxallowd/fleet-cert.pem",),
    "fleet-cert-key-file": ("/etc/mxallowd/fleet-cert-key.pem",),
    "control-change-group": ("mxallowd-change",),
    "metrics": ("127.0.0.1:9199",),
    "user": ("mxallowd",),
}
# What is recommended in one case alone: its value, and the case.
IN_A_CASE = {
    "direct-table": ("ipset", "in way a), where direct-after leads nobody without it, with rules of iptables (with "
                              "rules of nft: inet mxallowd). In the other ways leave it out"),
}


def text() -> str:
    """The sample, some 300 lines of ASCII."""
    advised = recommended()
    parts = [HEAD]
    for title, names in GROUPS:
        parts.append(f"\n# {title}\n# {'-' * len(title)}\n")
        parts += [f"\n{_option(BY_NAME[name], advised.get(name))}" for name in names]
    return "".join(parts)


def recommended() -> dict[str, str]:
    """The values of data/recommended.conf by option; "" where one stands alone."""
    content = resources.files("mxallowd").joinpath("data", "recommended.conf").read_text(encoding="ascii")
    lines = [line for line in content.splitlines() if line and not line.startswith("#")]
    return dict(line.partition(" ")[::2] for line in lines)


def _option(option: Option, advised: str | None) -> str:
    """What is said about one, and its lines."""
    default = "off" if option.kind is Kind.FLAG else option.default_text
    said = option.help[0].upper() + option.help[1:] + (f" ({option.values})" if option.values else "") + "."
    said += " It follows a reload." if option.live else ""
    if advised is not None:
        values: tuple[str, ...] = (advised,)
        said += (" Default, and recommended:" if advised == default
                 else f" Default: {default}. Recommended:" if default else " Recommended:")
    elif option.kind is Kind.FLAG:
        values, said = ("",), f"{said} Default: off."
    elif default:
        values, said = (default,), f"{said} Default:"
    elif option.name in IN_A_CASE:
        value, case = IN_A_CASE[option.name]
        values, said = (value,), f"{said} Recommended {case}:"
    else:
        values, said = EXAMPLES[option.name], f"{said} Example:"
    return _comment(said) + "".join(f"#{option.name} {value}".rstrip() + "\n" for value in values)


def _comment(said: str) -> str:
    lines = textwrap.wrap(said, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False,
                          break_on_hyphens=False)
    return "\n".join(lines) + "\n"
