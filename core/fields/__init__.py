"""Structured fields of a product (quantities, units, brand, grades) read from its catalog text."""

from core.fields.reader import NUMBERS, WORDS, read_fields

__all__ = ["NUMBERS", "WORDS", "read_fields"]
