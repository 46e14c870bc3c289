"""`serving.replicas.deployment`: documented import path of `serving.engine.ray_serve`."""

from serving.engine.ray_serve import deployment

__all__ = ["deployment"]
