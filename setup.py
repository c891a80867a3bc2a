"""The compiled modules; all else is in pyproject.toml.

MXALLOWD_BUILD chooses how they are compiled: release (default), debug (assertions, line tracing of C),
sanitize (AddressSanitizer and UndefinedBehaviorSanitizer), thread (ThreadSanitizer), coverage (gcc counts what is
reached; scripts/coverage reads it) or fuzz (the parsers alone, by Clang, for the targets of tests/fuzz).
"""
import os
import sys

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

BUILDS = {
    "release": ["-O3"],
    "debug": ["-O0", "-g3"],
    "sanitize": [
        "-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined"],
    # Fences are beyond it, and what they order here is atomic as well.
    "thread": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread", "-Wno-tsan"],
    # Python's own flags have -fwrapv, under which no overflow is one. The targets call through pointers whose types are
    # the same but for the names of structures, which is what -fsanitize=function minds.
    "fuzz": [
        "-O2", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", "-fsanitize=fuzzer-no-link,address,undefined",
        "-fno-sanitize=function", "-fno-sanitize-recover=undefined"],
    # Not by Cython's own tracing (linetrace): functions without the interpreter's lock then take it.
    "coverage": ["-O0", "-g", "--coverage", "-fprofile-update=atomic"],
}
MODULES = [
    "engine._pages", "engine._siphash", "engine._headers", "engine._shard", "engine._records", "engine._table",
    "engine._meetings", "engine._told", "engine._patience", "engine._refused", "engine._busiest", "engine._saved",
    "engine._ring", "engine._networks", "engine._rules", "_fastpath", "_foresight", "captures._capture",
    "captures._replay"]
LINUX_MODULES = ["backends._nfnetlink", "backends._verdicts", "backends._worker", "watchdog._watch"]
PARSERS = ["engine._headers", "captures._capture", "backends._nfnetlink"]

build = os.environ.get("MXALLOWD_BUILD", "release")
if build not in BUILDS:
    sys.exit(f"MXALLOWD_BUILD={build}: expected one of {', '.join(BUILDS)}")
flags = [*BUILDS[build], "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
link = [flag for flag in flags if flag.startswith(("-fsanitize", "--coverage"))]
modules = MODULES + (LINUX_MODULES if sys.platform == "linux" else [])
if build == "fuzz":
    os.environ.setdefault("CC", "clang")
    modules = PARSERS

Options.warning_errors = True
setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=cythonize(
        [
            Extension(
                f"mxallowd.{name}", [f"mxallowd/{name.replace('.', '/')}.pyx"],
                extra_compile_args=flags, extra_link_args=link)
            for name in modules
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": build != "release",
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
        },
        force=build != "release",
    ),
)
