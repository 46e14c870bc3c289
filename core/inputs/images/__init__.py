"""Pictures on the disk: which row has one, whether it can be read, and how it becomes a square of pixels."""

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
