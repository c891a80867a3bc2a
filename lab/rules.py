"""The ways to run on Linux as the lab loads them: rulesets, arguments, and what an operator changes for an option."""
from dataclasses import dataclass

from lab.hosts import RULESETS
from mxallowd.settings import Settings

_NFT = ("--nft-table", "inet mxallowd")


@dataclass(frozen=True)
class Rules:
    """One way to run: rulesets, the daemon's arguments, and who keeps the sets ("", "nft" or "ipset")."""

    rulesets: tuple[str, ...]
    arguments: tuple[str, ...]
    sets: str = ""

    def edits(self, settings: Settings) -> dict[str, str]:
        """What docs/firewall.md says an operator changes in the files, for Lab.load_ruleset."""
        found = self.renew_use() if self.sets and settings.renew in ("use", "both") else {}
        if settings.refuse == "reset":
            text = "".join((RULESETS / name).read_text(encoding="utf-8") for name in self.rulesets)
            found |= {old: new for old, new in (("refuse=DROP", "refuse=REJECT"), ("#reset ", "")) if old in text}
        return found

    def renew_use(self) -> dict[str, str]:
        """For --renew use or both: a use that may renew an entry is shown to mxallowd."""
        if self.sets == "ipset":
            return {"renew=contact": "renew=use"}
        text = "".join((RULESETS / name).read_text(encoding="utf-8") for name in self.rulesets)
        lines = [line for line in text.splitlines() if line.startswith("\t\t#use ")]
        without = [line.replace("#use ", "").replace(f" ip{six} saddr @mx_fresh{four}", "")
                   for line, four, six in zip(lines, ("4", "6"), ("", "6"), strict=True)]
        assert len(without) == 2
        return {line + "\n": "" for line in without} | {"\t\t#use ": "\t\t"}


WAYS = {
    "a": Rules(("queue.sh",), ("-n", "23")),
    "b": Rules(("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", *_NFT), "nft"),
    "b-ipset": Rules(("queue-set-ipset.sh",), ("-n", "23", "--ipset"), "ipset"),
    "c": Rules(("set.nft",), ("-p", "nflog:5", *_NFT), "nft"),
    "c-ipset": Rules(("set-ipset.sh",), ("-p", "nflog:5", "--ipset"), "ipset"),
}
