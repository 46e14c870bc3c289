"""Security middleware: body limits, API keys, rate limits, error responses, request logs."""

from serving.middleware.access import OPEN, Caller, admin_only, caller_of, check_exposure
from serving.middleware.key_store import KeyRing, add_key, read_keys, revoke_key
from serving.middleware.logs import logging_config
from serving.middleware.problems import problem, request_id
from serving.middleware.protect import protect
from serving.middleware.rate import RateLimiter

__all__ = [
    "OPEN",
    "Caller",
    "KeyRing",
    "RateLimiter",
    "add_key",
    "admin_only",
    "caller_of",
    "check_exposure",
    "logging_config",
    "problem",
    "protect",
    "read_keys",
    "request_id",
    "revoke_key",
]
