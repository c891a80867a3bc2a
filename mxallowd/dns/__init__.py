"""Questions to the DNS, and what counts as a host name."""
