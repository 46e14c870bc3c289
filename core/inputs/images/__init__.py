"""Image files: matching rows to files, decoding, and reasons why a file cannot be used."""
