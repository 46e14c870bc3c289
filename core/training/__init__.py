"""Training of one network: epochs, steps, batches, checkpoints, several processes."""
