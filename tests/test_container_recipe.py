"""The recipe of the image and the unit for quadlet: their form. Podman runs both in tests/systems/container.py."""
import re
from pathlib import Path

import yaml

from mxallowd.cli import NOT_SET_UP
from mxallowd.settings.options import OPTIONS

ROOT = Path(__file__).parent.parent
RECIPE = (ROOT / "packaging" / "container" / "Containerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "packaging" / "container" / "mxallowd.container").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
DEFAULTS = {option.name: Path(str(option.default)) for option in OPTIONS}
WRITTEN = {str(DEFAULTS["state-dir"]), str(DEFAULTS["control"].parent)}


def steps() -> list[tuple[str, str]]:
    """The instructions of the recipe and their arguments, lines put together."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", RECIPE, flags=re.MULTILINE))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def settings(section: str) -> dict[str, list[str]]:
    """What a section of the unit says, all values of each key."""
    found: dict[str, list[str]] = {}
    text = re.split(r"^\[.+\]\n", UNIT.partition(f"[{section}]\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_the_image_is_slim_and_ends_as_another_user() -> None:
    made = steps()
    stages = [number for number, (word, _) in enumerate(made) if word == "FROM"]
    assert len(stages) == 2
    last = made[stages[1]:]
    assert [rest for word, rest in last if word == "USER"] == ["mxallowd"]
    for word, rest in made:
        assert word in ("ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "USER", "ENTRYPOINT", "CMD",
                        "STOPSIGNAL", "HEALTHCHECK")
        if word == "RUN" and "apt-get" in rest:
            assert "--no-install-recommends" in rest
        if word in ("ENTRYPOINT", "CMD"):
            # Not by a shell, which would be process 1.
            assert rest.startswith("[")
    kept = " ".join(rest for word, rest in last if word == "RUN")
    assert "gcc" not in kept and "-dev" not in kept and "rm -rf /var/lib/apt/lists" in kept
    assert any(word == "HEALTHCHECK" and '["mxallowctl", "status"]' in rest for word, rest in last)
    assert {path for word, rest in last if word == "VOLUME" for path in yaml.safe_load(rest)} == WRITTEN


def test_the_unit_gives_what_is_needed_and_no_more() -> None:
    container, service = settings("Container"), settings("Service")
    assert (container["DropCapability"], container["AddCapability"]) == (["all"], ["CAP_NET_ADMIN"])
    assert container["Network"] == ["host"]
    assert container["ReadOnly"] == container["NoNewPrivileges"] == container["Notify"] == ["true"]
    volumes = [value.split(":")[1:] for value in container["Volume"]]
    assert {volume[0] for volume in volumes if "ro" not in volume} == WRITTEN
    assert service["Restart"] == ["always"]
    assert service["RestartPreventExitStatus"] == [str(NOT_SET_UP)]
    assert "User" not in container and "--privileged" not in UNIT


def test_the_lines_for_compose_say_the_same() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    service = yaml.safe_load(text)["services"]["mxallowd"]
    assert service["network_mode"] == "host"
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] and service["restart"] == "always"
    assert [volume.split(":")[1:] for volume in service["volumes"]] == [
        value.split(":")[1:] for value in settings("Container")["Volume"]]
    assert set(service["cap_add"]) == set(re.findall(r"[A-Z_]+", PAGE.partition("add: [")[2].partition("]")[0]))


def test_the_build_takes_the_package_alone() -> None:
    """Nothing of a checkout that the package does not need goes into the context, an environment above all."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    taken = [line[1:] for line in lines if line.startswith("!")]
    assert all((ROOT / name).exists() for name in taken)
    # What setup.py and pyproject.toml read.
    assert {"mxallowd", "setup.py", "pyproject.toml", "README.md", "LICENSE"} <= set(taken)
