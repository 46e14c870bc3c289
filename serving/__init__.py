"""Serving: bundles, the HTTP service, its security and its monitoring."""
