"""Trusted senders: who is let in because of what a file of the operator says of him, before he ever came."""
