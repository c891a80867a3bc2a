"""What every process of a measured run does at its start: it records which lines of the package it reaches.

A .pth file of the run's own environment calls it, so helpers count that start without PYTHONPATH. A process that never
imports the package costs nothing. The file for the lines is made when the measuring starts, while that is allowed, and
filled at the end; the one thing that a measured daemon may do more than another is writing there. Processes that are
killed leave an empty file.
"""
import atexit
import contextlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import coverage


class Recorder(importlib.abc.MetaPathFinder):
    """Starts with the first import of the package."""

    def __init__(self, tree: str, directory: str, *writable: str) -> None:
        self._tree = Path(tree)
        self._directory = Path(directory)
        # What is imported late is read in the sandbox.
        self._readable = tuple(path for path in sys.path if path)
        self._writable = (directory, *writable)
        self._target: Path | None = None
        self._coverage: coverage.Coverage | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find nothing; see what is imported."""
        if name == "mxallowd" and self._coverage is None:
            self._start()
        if name != "mxallowd.process.sandbox":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_widen(module: ModuleType) -> None:
                execute(module)
                module.READABLE += self._readable  # type: ignore[attr-defined]
                module.WRITABLE += self._writable  # type: ignore[attr-defined]

            spec.loader.exec_module = execute_and_widen  # type: ignore[method-assign]
        return spec

    def _start(self) -> None:
        self._make_file()
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{self._tree}/mxallowd/*"], messages=False)
        self._coverage.set_option("run:disable_warnings", ["no-data-collected"])
        os.register_at_fork(after_in_child=self._make_file)
        atexit.register(self._write)
        leave = os._exit

        def write_and_leave(status: int) -> None:
            self._write()
            leave(status)

        os._exit = write_and_leave  # type: ignore[assignment]
        self._coverage.start()

    def _make_file(self) -> None:
        target = self._directory / f"{os.getpid()}-{time.monotonic_ns()}.json"
        with contextlib.suppress(OSError):
            target.touch()
            target.chmod(0o666)
            self._target = target

    def _write(self) -> None:
        if self._coverage is None or self._target is None:
            return
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {name: sorted(data.lines(name) or ()) for name in data.measured_files()}
        # "w" would ask for a right to cut files short, which nobody has in the sandbox.
        with contextlib.suppress(OSError), self._target.open("r+", encoding="utf-8") as file:
            file.write(json.dumps(lines))


def install(tree: str, directory: str, *writable: str) -> None:
    """Measure this process, if it comes to the package of the checkout `tree`."""
    sys.meta_path.insert(0, Recorder(tree, directory, *writable))
