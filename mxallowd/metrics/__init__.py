"""Numbers that the daemon keeps."""
