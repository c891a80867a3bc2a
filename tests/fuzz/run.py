"""Builds fuzz targets where that is needed, and runs them.

    python -m tests.fuzz.run [--runs N | --seconds N] [TARGET...]

Without a target all of them run, as many at a time as there are processors. The compiled targets are headers, nfnetlink
and capture: Clang's libFuzzer, under AddressSanitizer and UndefinedBehaviorSanitizer. The others run under atheris.
Prints how many executions there were, and how fast; with a finding the status is 1, and the output names the input.
What is built, the corpora, which grow from run to run, and the findings are in build/fuzz.
"""
import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests import builds
from tests.fuzz import seeds

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
WORK = ROOT / "build" / "fuzz"
COMPILED = ("headers", "nfnetlink", "capture")
INTERPRETED = tuple(name for name in seeds.SEEDS if name not in COMPILED)
# Targets with a mistake, and whose seeds they have: they show that mistakes are found.
DEFECTIVE, DEFECTIVE_INTERPRETED = "defective", "defective-interpreted"
SEEDS_OF = {DEFECTIVE: "headers", DEFECTIVE_INTERPRETED: "events"}
SANITIZE = (
    "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize=function",
    "-fno-sanitize-recover=undefined", "-rdynamic", "-Wall", "-Wextra")
MAX_BYTES = 512


class Missing(Exception):
    """What the target needs is not on this machine; the text says what."""


class Result(NamedTuple):
    """What a run came to."""

    executions: int
    seconds: float
    status: int
    output: str


def check(target: str) -> None:
    """Raise Missing where the target cannot be built or run here."""
    if target in (*INTERPRETED, DEFECTIVE_INTERPRETED):
        if importlib.util.find_spec("atheris") is None:
            raise Missing("atheris is not installed")
        return
    if shutil.which("clang") is None:
        raise Missing("clang is not installed")
    with tempfile.TemporaryDirectory() as directory:
        program = subprocess.run(
            ["clang", "-x", "c", "-fsanitize=fuzzer,address", "-o", f"{directory}/x", "-"], capture_output=True,
            text=True, input="int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }")
    if program.returncode:
        raise Missing("clang has no libFuzzer: its runtime libraries are not installed")


def _run(*command: str | Path, directory: Path, **environment: str) -> None:
    done = subprocess.run(
        [*builds.LAST, *command], cwd=directory, capture_output=True, text=True, env=os.environ | environment,
        timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def _make(making: Path, built: Path) -> None:
    """Build the modules and the targets in `making`, from where they will be moved to `built`."""
    making.mkdir()
    shutil.copytree(
        ROOT / "mxallowd", making / "mxallowd", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for package in (making / "mxallowd").glob("*/**/__init__.py"):
        # The parsers are built alone, and what their packages import is not.
        package.write_text("", encoding="utf-8")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, making / name)
    # What else a folder imports for its parser is not built.
    for package in (making / "mxallowd").glob("*/__init__.py"):
        package.write_bytes(b"")
    _run(sys.executable, "setup.py", "build_ext", "--inplace", directory=making, MXALLOWD_BUILD="fuzz", CC="clang",
         CFLAGS=f"-ffile-prefix-map={making}={built}")
    place = sysconfig.get_config_vars()
    libraries = [f"-L{place['LIBDIR']}", f"-Wl,-rpath,{place['LIBDIR']}", f"-lpython{place['LDVERSION']}"]
    for target in (*COMPILED, DEFECTIVE):
        broken = ["-DBROKEN"] if target == DEFECTIVE else []
        _run("clang", *SANITIZE, *broken, f'-DMODULES="{built}"', f'-DPYTHON="{sys.executable}"',
             "-isystem", sysconfig.get_path("include"), HERE / f"{SEEDS_OF.get(target, target)}.c",
             "-o", making / target, *libraries, directory=making)


def build() -> Path:
    """The directory of the compiled targets, built unless these sources were built before."""
    sources = [*(ROOT / "mxallowd").rglob("*.p[yx][xd]"), *HERE.glob("*.[ch]"), ROOT / "setup.py", Path(__file__)]
    version = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    place, name = WORK / "built", builds.digest(sys.executable, sys.version, version, *SANITIZE, sources=sources)
    return builds.made_once(place, name, lambda making: _make(making, place / name), kept_s=0)


def run(target: str, *, runs: int | None = None, seconds: int | None = None) -> Result:
    """Run a target for so many executions, or so long. Raises Missing."""
    check(target)
    WORK.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "tests.fuzz.instrumented", target]
    if target in (*COMPILED, DEFECTIVE):
        command = [build() / target]
    name = SEEDS_OF.get(target, target)
    seeds.write(name, WORK / "seeds" / name)
    corpus, findings = WORK / "corpus" / target, WORK / "findings"
    if target in SEEDS_OF:
        # Found from the seeds alone, each time.
        shutil.rmtree(corpus, ignore_errors=True)
        findings = WORK / "expected"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    limit = f"-runs={runs}" if runs is not None else f"-max_total_time={seconds}"
    words = WORK / "seeds" / f"{name}.words"
    more = [f"-dict={words}"] if words.stat().st_size else []
    started = time.monotonic()
    done = subprocess.run(  # a hang is a finding, too
        [*builds.LAST, *command, limit, f"-max_len={MAX_BYTES}", "-timeout=10", "-print_final_stats=1",
         "-verbosity=0", f"-artifact_prefix={findings}/{target}-", *more, corpus, WORK / "seeds" / name],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | {"PYTHONPATH": str(ROOT)})
    took = time.monotonic() - started
    counted = re.search(r"number_of_executed_units: *(\d+)", done.stdout)
    return Result(int(counted[1]) if counted else 0, took, done.returncode, done.stdout)


def show(target: str, runs: int | None, seconds: int) -> int:
    """Run a target and print what came of it: 0, 1 with a finding, 2 where it cannot be run here."""
    try:
        result = run(target, runs=runs, seconds=seconds)
    except Missing as missing:
        print(f"{target}: {missing}", file=sys.stderr)
        return 2
    if result.status:
        print(result.output, file=sys.stderr)
    print(f"{target}: {result.executions} executions in {result.seconds:.1f} s, "
          f"{result.executions / result.seconds:.0f} executions/s, "
          f"{'a finding' if result.status else 'no finding'}", flush=True)
    return 1 if result.status else 0


def main() -> int:
    """Run as a program."""
    every = [*COMPILED, *INTERPRETED]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="Run fuzz targets.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=every,
                        help=f"one or more of {', '.join([*every, *SEEDS_OF])} (default: all but the last "
                             f"{len(SEEDS_OF)}, which have a mistake that is to be found)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--runs", type=int, metavar="N")
    amount.add_argument("--seconds", type=int, metavar="N", default=60, help="for each target (default: %(default)s)")
    chosen = parser.parse_args()
    for target in chosen.targets:
        if target not in (*every, *SEEDS_OF):
            parser.error(f"{target!r} is none of {', '.join([*every, *SEEDS_OF])}")
    with ThreadPoolExecutor(os.cpu_count()) as processors:
        return max(processors.map(lambda target: show(target, chosen.runs, chosen.seconds), chosen.targets))


if __name__ == "__main__":
    sys.exit(main())
