"""Inference engine: adaptive batches, worker processes, response cache, file prediction."""
