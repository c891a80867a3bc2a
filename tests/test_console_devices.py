"""Browsers that are known: their cookie, the key of it, and that an attack shuts none of them out."""
import os
from pathlib import Path

import pytest

from mxallowd.console.attempts import AT_ONCE
from mxallowd.console.devices import DAY_S, DAYS, FILE, Devices, key_in
from mxallowd.console.users import User, line_of, user_of
from mxallowd.console.visit import Role
from tests.console_site import PASSWORD, Console

RIGHT = {"name": "anna", "password": PASSWORD}
WRONG = {"name": "anna", "password": "not this one"}
NAME = "mxallowd-device"
ANNA, OTTO = (user_of(line_of(name, Role.LOOK, PASSWORD)) for name in ("anna", "otto"))


def quick(user: User | None, password: str) -> bool:
    return user is not None and password == PASSWORD


def device_in(console: Console, **more: str) -> str:
    """The cookie that a log-in sets for the browser."""
    status, fields, text = console.ask("POST", "/login", RIGHT, **more)
    assert status == 303, text
    found = [one for one in fields.get_all("Set-Cookie", []) if one.startswith(f"{NAME}=")]
    value, *rest = found[0].split("; ")
    assert rest == ["Path=/login", "HttpOnly", "SameSite=Strict", f"Max-Age={DAYS * DAY_S}"]
    return value.partition("=")[2]


def test_a_cookie_is_one_users_until_his_password_changes() -> None:
    now = [1e9]
    devices = Devices(b"k" * 32, lambda: now[0])
    cookie = devices.cookie(ANNA)
    nonce = devices.nonce(ANNA, cookie)
    assert nonce and devices.nonce(ANNA, devices.cookie(ANNA, nonce)) == nonce
    assert devices.nonce(ANNA, devices.cookie(ANNA)) not in ("", nonce)
    others = [(OTTO, cookie), (None, cookie), (user_of(line_of("anna", Role.LOOK, PASSWORD)), cookie),
              (ANNA, cookie.replace(".", ".A", 1)), (ANNA, f"9{cookie}"), (ANNA, ""), (ANNA, cookie.rpartition(".")[0])]
    assert [devices.nonce(*one) for one in others] == [""] * len(others)
    assert Devices(b"l" * 32, lambda: now[0]).nonce(ANNA, cookie) == ""
    assert Devices().nonce(ANNA, Devices().cookie(ANNA)) == ""
    # A clock that was set back makes none good for longer.
    for days, good in ((DAYS, nonce), (1, ""), (-DAYS - 2, "")):
        now[0] += days * DAY_S
        assert devices.nonce(ANNA, cookie) == good


def test_the_key_outlives_a_restart_and_is_nobody_elses(tmp_path: Path) -> None:
    said: list[str] = []
    key = key_in(tmp_path, said.append)
    path = tmp_path / FILE
    assert key_in(tmp_path, said.append) == path.read_bytes() == key and len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "elsewhere").write_bytes(key)
    (tmp_path / "elsewhere").chmod(0o600)
    for number in range(4):
        before = path.read_bytes()
        if number == 0:
            path.write_bytes(b"short")
        elif number == 1:
            path.chmod(0o644)
        else:
            path.unlink()
            if number == 2:
                path.symlink_to(tmp_path / "elsewhere")
            else:
                os.mkfifo(path, 0o600)
        assert key_in(tmp_path, said.append) == path.read_bytes() not in (before, b"short")
        assert path.is_file() and not path.is_symlink()
    assert said == []
    assert len(key_in(tmp_path / "none", said.append)) == 32
    assert said == [f"the key of {FILE} cannot be kept, and is lost at the end: No such file or directory"]


@pytest.mark.parametrize("sources", [["127.0.0.1"], [f"127.5.0.{number}" for number in range(1, 60)]])
def test_an_attack_after_a_restart_leaves_known_browsers_in(tmp_path: Path, sources: list[str]) -> None:
    """From the same address, as another user of the gateway has it; and from many."""
    with Console(tmp_path, check=quick, devices=Devices(b"k" * 32)) as console:
        device = device_in(console)
    with Console(tmp_path, check=quick, devices=Devices(b"k" * 32), hurry=0) as console:  # time stands still
        for source in sources * (60 // len(sources)):
            last = console.ask("POST", "/login", WRONG, source=source)[0]
        assert last == 429 and console.ask("POST", "/login", RIGHT, source="127.0.0.1")[0] == 429
        for _ in range(AT_ONCE + 1):
            # A good one costs nothing, and keeps the browser's place.
            device = device_in(console, cookie=device, name=NAME)
        # What it knows is worth no more guesses than an address.
        found = [console.ask("POST", "/login", WRONG, device, name=NAME)[0] for _ in range(AT_ONCE + 2)]
        assert found[0] == 403 and found.count(403) <= AT_ONCE and found[-1] == 429
        # For another name it counts as nothing.
        assert console.ask("POST", "/login", {**WRONG, "name": "otto"}, device, sources[0], NAME)[0] == 429


def test_with_tls_it_goes_over_tls_alone(tmp_path: Path) -> None:
    with Console(tmp_path, check=quick, proxies=["127.0.0.1"]) as console:
        fields = console.ask("POST", "/login", RIGHT, X_Forwarded_Proto="https")[1]
        found = [one for one in fields.get_all("Set-Cookie", []) if "device" in one]
        assert found[0].startswith("__Secure-mxallowd-device=") and found[0].endswith("; Secure")


def test_requests_from_its_address_leave_a_known_browser_in(tmp_path: Path) -> None:
    with Console(tmp_path, check=quick, haste=0) as console:  # so time stands still for the rate of requests
        device = device_in(console)
        while console.ask("GET", "/login")[0] != 429:
            pass
        assert console.ask("GET", "/login", cookie=device, name=NAME)[0] == 200
        assert console.ask("POST", "/login", RIGHT, device, name=NAME)[0] == 303
        assert console.ask("GET", "/login", cookie=f"{device}x", name=NAME)[0] == 429
