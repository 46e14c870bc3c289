"""The embedded demo catalog: a seeded shop whose pictures know something that its texts do not."""

from core.demo.generate import DemoPaths, demo_paths, make_demo

__all__ = ["DemoPaths", "demo_paths", "make_demo"]
