"""Contract suites: checks that every registered architecture and combination method must pass."""
