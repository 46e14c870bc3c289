"""Figures of the report's sections: report inputs to plain values."""
