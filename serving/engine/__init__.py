"""What answers: rows are gathered into batches, computed in processes of their own, and remembered."""
