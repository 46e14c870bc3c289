"""Which model to train next, where it runs, what came of it."""

import time

STARTED = time.time()
"""When this process began: a time budget counts from the moment the user pressed enter, slow imports included."""
