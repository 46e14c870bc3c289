"""Report and diagnosis of a workspace: read-only."""

import core as core  # limits spinning before libraries load
