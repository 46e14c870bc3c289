"""Protocols that architectures and process groups implement."""
