"""Planning: which job is next, within which budget of time and memory."""
