"""What stands between the internet and the predictor: bounds, keys, and nothing from inside in any answer or log."""

from serving.guard.access import OPEN, Caller, admin_only, caller_of, check_exposure
from serving.guard.fetch import ImageFetcher
from serving.guard.keys import KeyRing, add_key, read_keys, revoke_key
from serving.guard.limits import Limits, read_limits
from serving.guard.logs import logging_config
from serving.guard.pictures import decode_picture
from serving.guard.problems import problem, request_id
from serving.guard.protect import protect
from serving.guard.rate import RateLimiter
from serving.guard.texts import check_text
from serving.guard.urls import ImageUrlError

__all__ = [
    "OPEN",
    "Caller",
    "ImageFetcher",
    "ImageUrlError",
    "KeyRing",
    "Limits",
    "RateLimiter",
    "add_key",
    "admin_only",
    "caller_of",
    "check_exposure",
    "check_text",
    "decode_picture",
    "logging_config",
    "problem",
    "protect",
    "read_keys",
    "read_limits",
    "request_id",
    "revoke_key",
]
