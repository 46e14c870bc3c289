"""Security middleware: request bounds, API keys, rate limits, image fetching, error answers, logs."""

from serving.middleware.access import OPEN, Caller, admin_only, caller_of, check_exposure
from serving.middleware.fetch import ImageFetcher
from serving.middleware.key_store import KeyRing, add_key, read_keys, revoke_key
from serving.middleware.limits import Limits, read_limits
from serving.middleware.logs import logging_config
from serving.middleware.problems import problem, request_id
from serving.middleware.product_inputs import check_text, decode_image
from serving.middleware.protect import protect
from serving.middleware.rate import RateLimiter
from serving.middleware.urls import ImageUrlError

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
    "decode_image",
    "logging_config",
    "problem",
    "protect",
    "read_keys",
    "read_limits",
    "request_id",
    "revoke_key",
]
