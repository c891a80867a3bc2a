"""Other systems than this one, each in a bare root: scripts/test-init runs these files alone."""
