"""Content-keyed cache on disk: computed once, shared by all trials and processes, bounded in size."""

from core.cache.entries import Cache, Entry, parse_size, size_text

__all__ = ["Cache", "Entry", "parse_size", "size_text"]
