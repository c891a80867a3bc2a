"""The ways to run on Linux as the lab loads them: rulesets, arguments, and what an operator changes for an option."""
from dataclasses import dataclass

from lab.hosts import BRIDGE
from mxallowd.firewall.printing import file
from mxallowd.firewall.wanted import Wanted
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

    def texts(self, settings: Settings, *, direct: bool = False) -> dict[str, str]:
        """The rulesets for the lab's servers by their names, as mxallowd prints them; `direct`: hosts are led."""
        wanted = Wanted(renew=settings.renew, reset=settings.refuse == "reset", network_key=settings.network_key,
                        direct=direct, doors=(BRIDGE,))
        return {name: file(name, wanted) for name in self.rulesets}


WAYS = {
    "a": Rules(("queue.sh",), ("-n", "23"), direct_arguments=("--direct-table", "ipset")),
    "b": Rules(("queue-set-mark.nft", "queue-set-mark.sh"), ("-n", "23", *_NFT), "nft"),
    "b-ipset": Rules(("queue-set-ipset.sh",), ("-n", "23", "--ipset"), "ipset"),
    "c": Rules(("set.nft",), ("-p", "nflog:5", *_NFT), "nft"),
    "c-ipset": Rules(("set-ipset.sh",), ("-p", "nflog:5", "--ipset"), "ipset"),
    "d": Rules(("door.nft",), ("-p", "nflog:5", *_NFT, "--door", BRIDGE), "nft"),
    "d-raw": Rules(("door-raw.nft",), ("-p", "nflog:5", *_NFT), "nft"),
}
