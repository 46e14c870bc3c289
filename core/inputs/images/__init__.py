"""Image files: matching rows to files, decoding, and reasons why a file cannot be used."""

from core.inputs.images.files import (
    FORMATS,
    PAD,
    PIXEL_LIMIT,
    BadImage,
    ImageFile,
    ImageReport,
    Progress,
    UnreadableImageError,
    bad_images_error,
    check_images,
    decode,
    fault,
    in_threads,
    list_images,
)

__all__ = [
    "FORMATS",
    "PAD",
    "PIXEL_LIMIT",
    "BadImage",
    "ImageFile",
    "ImageReport",
    "Progress",
    "UnreadableImageError",
    "bad_images_error",
    "check_images",
    "decode",
    "fault",
    "in_threads",
    "list_images",
]
