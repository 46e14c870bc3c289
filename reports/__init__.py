"""Reports: one HTML page about a workspace, and a diagnosis of its runs."""
