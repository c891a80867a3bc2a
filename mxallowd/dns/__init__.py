"""DNS queries, and what counts as a host name."""
