"""Image files: matching rows to files, decoding, and reasons why a file cannot be used."""

from core.inputs.images.files import (
    FORMATS,
    PAD,
    PIXEL_LIMIT,
    BadPicture,
    PictureFile,
    PictureReport,
    Progress,
    UnreadablePictureError,
    bad_pictures_error,
    check_pictures,
    decode,
    fault,
    in_threads,
    list_pictures,
)

__all__ = [
    "FORMATS",
    "PAD",
    "PIXEL_LIMIT",
    "BadPicture",
    "PictureFile",
    "PictureReport",
    "Progress",
    "UnreadablePictureError",
    "bad_pictures_error",
    "check_pictures",
    "decode",
    "fault",
    "in_threads",
    "list_pictures",
]
