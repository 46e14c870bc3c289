"""What is computed once: content-keyed entries on disk that all trials and processes share, bounded in size."""

from core.cache.entries import Cache, Entry, parse_size, size_text

__all__ = ["Cache", "Entry", "parse_size", "size_text"]
