"""Data quality checks before training: price leaks and label noise."""
