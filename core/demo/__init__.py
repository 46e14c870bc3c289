"""Demo catalog: a seeded shop whose images tell part of the price that its texts do not."""

from core.demo.generate import DemoPaths, demo_paths, make_demo

__all__ = ["DemoPaths", "demo_paths", "make_demo"]
