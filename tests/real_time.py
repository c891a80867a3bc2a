"""Real-time priority for what a test measures, so that it measures nothing of what else this machine does."""
import subprocess

IN_REAL_TIME = ("chrt", "--rr", "1")
"""The words before a command."""


def in_real_time(*processes: int) -> None:
    """Prefer these to whatever else the machine does, all their threads."""
    for process in processes:
        subprocess.run(["chrt", "--all-tasks", "--rr", "--pid", "1", str(process)], check=True)
