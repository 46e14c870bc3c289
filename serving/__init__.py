"""Serving: bundles, the HTTP service, its security and its monitoring."""

import core as core  # limits spinning before libraries load
