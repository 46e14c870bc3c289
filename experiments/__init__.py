"""Sweeps: search for configs, train them on this machine or a cluster, cross-validate the best into members."""

import os

import core as core  # limits spinning before libraries load

# Ray reads these when it is imported, by whichever module that may be.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow is the run log; no CSV and JSON beside it
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `ray start` does, with the token in ~/.ray/auth_token
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a failed job reports its error and no SMAPE
# The sweep says how many run at once. Left alone, Ray Tune starts workers one after the other, 5 to 10 seconds each.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")
# Of jobs with several workers: a look at them this often, no process to watch for nodes that will be taken away, and time for
# them to end in order when their trial is stopped.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "120")
