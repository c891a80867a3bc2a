"""What ends the process when verdicts stop: a thread inside it, and a process beside it, the guard."""
