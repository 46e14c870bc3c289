"""HTML page of the report, the registry of its sections, and their templates."""
