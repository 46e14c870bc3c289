"""Checks of request texts, and bounded decoding of request images with training's decoder."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from core.inputs.images import FORMATS, UnreadableImageError, decode
from serving.common.limits import Limits

ACCEPTED = tuple(name for name in FORMATS if name != "TIFF")
"""No TIFF: a dozen codecs behind one name, whose library writes what it thinks of a file to the standard error."""

# Pillow warns of strangers' odd files on the standard error, with its own path; nobody here can mend them.
warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
_SCANS = 64
"""A scan of 42 bytes makes the decoder go over the whole picture once more: 8 MB of them would keep a core busy for the better
part of an hour. Encoders write one, or about ten in progressive files."""


def decode_image(data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    """The picture as `core.images.decode` gives it, (size, size, 3) RGB, within `picture_bytes` and `picture_pixels`.

    Takes up to 32 bytes of memory per pixel of the file and a processor for up to a second: call it in a thread, and in few at a
    time. What the sender says the bytes are is not asked; `ACCEPTED` formats are told by their content. Of an
    animation the first picture is taken, as in training.

    Raises UnreadableImageError, whose text is fit for an answer.
    """
    if len(data) > limits.picture_bytes:
        raise UnreadableImageError(f"the file has more than {limits.picture_bytes:,} bytes")
    if data.startswith(_JPEG) and data.count(_SCAN) > _SCANS:
        raise UnreadableImageError(f"a JPEG of more than {_SCANS} scans")
    return decode(data, size, formats=ACCEPTED, pixel_limit=limits.picture_pixels)


def check_text(text: str, limits: Limits) -> str:
    """The text as it is. Raises ValueError, fit for an answer and for a pydantic validator, for one that is too long or no text.

    JSON can spell half a surrogate pair (`\\ud800`), and Python's parser and pydantic take it; tokenizers do not.
    """
    if len(text) > limits.text_chars:
        raise ValueError(f"the text has {len(text):,} characters, more than the limit of {limits.text_chars:,}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} of the text is half a surrogate pair") from None
    return text
