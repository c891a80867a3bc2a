"""Candidates of a capture through the decision of the daemon, timed batch by batch."""
