"""The ways to run on Linux as the lab loads them: rulesets, arguments, and what an operator changes for an option."""
from dataclasses import dataclass

from lab.hosts import REAL4, REAL6, RULESETS
from mxallowd.settings import Settings

_NFT = ("--nft-table", "inet mxallowd")


@dataclass(frozen=True)
class Rules:
    """One way to run: rulesets, the daemon's arguments, and who keeps the sets ("", "nft" or "ipset").

    `direct_arguments` are needed besides where hosts are led from the fake server to the real one (docs/direct.md).
    """

    rulesets: tuple[str, ...]
    arguments: tuple[str, ...]
    sets: str = ""
    direct_arguments: tuple[str, ...] = ()

    def edits(self, settings: Settings, *, direct: bool = False) -> dict[str, str]:
        """What the documents say an operator changes in the files, for Lab.load_ruleset; `direct`: leads such hosts."""
        found = self.renew_use() if self.sets and settings.renew in ("use", "both") else {}
        text = "".join((RULESETS / name).read_text(encoding="utf-8") for name in self.rulesets)
        if settings.refuse == "reset":
            found |= {old: new for old, new in (("refuse=DROP", "refuse=REJECT"), ("#reset ", "")) if old in text}
        if settings.network_key:
            # Of nft the file has the masks of 24/64, which is what we recommend.
            key = "/".join(map(str, settings.network_key))
            found |= {old: new for old, new in (('key=""', f'key="{key}"'), ("#net ", "")) if f"\n{old}" in text
                      or f"\t{old}" in text}
        if direct:
            found |= {"#direct ": ""} if self.sets == "nft" else {
                'direct4="" direct6=""': f'direct4="{REAL4}" direct6="{REAL6}"'}
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
    "a": Rules(("queue.sh",), ("-n", "23"), direct_arguments=("--direct-table", "ipset")),
    "b": Rules(("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", *_NFT), "nft"),
    "b-ipset": Rules(("queue-set-ipset.sh",), ("-n", "23", "--ipset"), "ipset"),
    "c": Rules(("set.nft",), ("-p", "nflog:5", *_NFT), "nft"),
    "c-ipset": Rules(("set-ipset.sh",), ("-p", "nflog:5", "--ipset"), "ipset"),
}
