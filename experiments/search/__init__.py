"""Search: studies in Optuna, their storage, their lease, and the choice of trials."""
