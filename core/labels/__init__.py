"""Labels that look wrong: found, reported, and left out of trainings that ask for it."""
