"""From way c) to way d) and back, by the commands of docs/firewall.md, while mxallowd runs and mail comes in."""
from pathlib import Path

from lab.hosts import BRIDGE, FAKE4, FAKE6, REAL4, REAL6, RULESETS, Attempt, Host, Lab
from mxallowd.firewall.wanted import Wanted
from tests.daemon_process import SENDER4, SENDER6
from tests.test_special_networks import rules
from tests.ways import WAYS, start

OTHER4 = "192.0.2.102"
CLIENT = (SENDER4, SENDER6, OTHER4)


def move(lab: Lab, directory: Path, name: str) -> None:
    """Run what stands there, for this file."""
    text = (RULESETS / name).read_text(encoding="utf-8").replace("{ eth0 }", f"{{ {BRIDGE} }}")
    text = text.replace("#net ", "")
    (directory / name).write_text(text, encoding="utf-8")
    commands = "\n".join(rules("From c) to d)")).replace("file=door.nft", f"file={name}")
    assert f"file={name} " in commands
    lab.gateway.run(["sh", "-euc", commands], cwd=directory, check=True)


def test_no_sender_notices_the_move(served: Lab, client: Host, tmp_path: Path) -> None:
    way = WAYS["set"]
    served.load_texts(way.printed(Wanted(network_key=(24, 64))))
    # Of --network-key, which mxallowd would have filled.
    served.gateway.run(["nft", "add element inet mxallowd mx_net4 { 198.51.100.0 timeout 1h }"], check=True)
    with start(served, way, "--allow", "203.0.113.0/24") as daemon:
        for fake, real, sender in ((FAKE4, REAL4, SENDER4), (FAKE6, REAL6, SENDER6)):
            assert client.attempt(fake, source=sender) is Attempt.REFUSED
            assert client.attempt(real, source=sender) is Attempt.CONNECTED
            way.wait_for(served, f"mx_used{6 if ':' in sender else 4}", sender)
        left = way.members(served, "mx_white4")[SENDER4]
        for name, chain in (("door.nft", "chain door"), ("set.nft", "chain input")):
            move(served, tmp_path, name)
            # Nobody has filled them since.
            assert left - 60 < way.members(served, "mx_white4")[SENDER4] <= left
            for real, sender in ((REAL4, SENDER4), (REAL6, SENDER6)):
                assert client.attempt(real, source=sender, timeout=0.3) is Attempt.CONNECTED
            listing = served.gateway.run(["nft", "list", "table", "inet", "mxallowd"], capture_output=True, text=True)
            assert chain in listing.stdout
            assert "203.0.113.0/24" in listing.stdout
            assert "198.51.100.0" in way.members(served, "mx_net4")
            if name == "door.nft":
                # mxallowd goes on with what the door shows it.
                assert client.attempt(FAKE4, source=OTHER4) is Attempt.REFUSED
                daemon.wait_for(rf"whitelisted \[{OTHER4}\]")
                assert client.attempt(REAL4, source=OTHER4) is Attempt.CONNECTED
                daemon.wait_for(rf"accepted \[{OTHER4}\]")
        assert daemon.counters()["kernel-table-failed"] == 0
        # What the fault would be without these commands, and that it changes nothing.
        refused = served.gateway.run(["nft", "-f", str(tmp_path / "door.nft")], capture_output=True, text=True)
        assert "File exists" in refused.stderr
        assert SENDER4 in way.members(served, "mx_white4")
