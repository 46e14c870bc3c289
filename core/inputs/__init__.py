"""Inputs of neural networks, computed once and cached: tokens, pixels, frozen features, augmentation."""
