"""The counters: their names and meanings. The parts of the daemon do the counting."""
