"""Level-one matrix: members' predictions read, checked, screened and completed."""
