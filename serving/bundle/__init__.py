"""Bundles: export of a stack, their formats and checks, and prediction from them."""
