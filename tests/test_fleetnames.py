"""The addresses of the engine's name, by the hosts file, name servers, and what they said last."""
import asyncio

import pytest

from mxallowd.daemon.fleetnames import Names
from mxallowd.fleet.opening import LinkError
from tests.name_server_process import NameServerProcess
from tests.ports import free_port
from tests.recorder import Recorder
from tests.test_settings import good


def test_what_a_name_leads_to() -> None:
    port = free_port()

    async def run() -> None:
        names = Names(good(f"-f 192.0.2.1 -r 192.0.2.2 -n 23 --dns-server 127.0.0.1:{port}"), Recorder().log)
        try:
            for literal in ("198.51.100.1", "2001:db8::1", "fe80::1%lo"):
                assert await names.addresses(literal) == [literal]
            assert set(await names.addresses("localhost")) <= {"127.0.0.1", "::1"}
            with NameServerProcess(None, ["engine.example A 198.51.100.53", "engine.example AAAA 2001:db8::53"], port):
                assert await names.addresses("engine.example") == ["198.51.100.53", "2001:db8::53"]
                with pytest.raises(LinkError, match=r"the name none\.example cannot be looked up: "):
                    await names.addresses("none.example")
            # Nobody answers any more.
            assert await names.addresses("engine.example") == ["198.51.100.53", "2001:db8::53"]
            with pytest.raises(LinkError, match=r"the name other\.example cannot be looked up: "):
                await names.addresses("other.example")
        finally:
            names.close()

    asyncio.run(run())
