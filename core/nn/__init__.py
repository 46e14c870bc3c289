"""Neural network parts: attention, heads, losses, layers, number formats."""
