"""Methods that combine members' prices into one."""
