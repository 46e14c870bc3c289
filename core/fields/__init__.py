"""Structured fields of a product, read from its catalog text by one table of rules (`core/fields/rules.py`)."""

from core.fields.reader import NUMBERS, WORDS, read_fields

__all__ = ["NUMBERS", "WORDS", "read_fields"]
