"""Report and diagnosis of a workspace: read-only."""
