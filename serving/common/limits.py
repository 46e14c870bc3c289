"""Service limits: every bound and its default, in one frozen object."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from core.data.column_selection import MOST_FIELDS
from core.data.reading import MAX_TEXT
from core.errors import UserError
from core.inputs.images.files import FORMATS, UnreadableImageError, decode
from core.inputs.images.image_fetcher import FetchLimits
from core.inputs.images.image_urls import check_pattern
from core.protocols.architecture import Config, make_config

MEGA = 2**20


class Limits(Config):
    """The bounds of one service; docs/security.md has what happens at each.

    Requests. form_bytes: of a form's body, with what it uploads. json_bytes: of any other body. body_seconds: until all of it has
    come. linger_seconds: for which the rest of a refused body is read and dropped, so that its sender hears the answer.
    json_depth: of brackets in brackets. text_chars: of one product's text (what is longer is cut in training, and refused here).
    fields: of one product, beside its text; field_chars: of one of them. batch_rows: of one batch.

    Images, uploaded or fetched. picture_bytes: of the file. picture_pixels: width times height, by the file's header.

    Image URLs. image_hosts: names that images may be fetched from, `*.example.com` for all below a name, `*` for all; with
    none, the default, nothing is fetched. url_chars: of a URL. fetch_seconds: of one fetch in all: name, redirects, bytes.
    redirects: followed at most. fetches: at the same time; others wait within their own time. refused_networks: addresses that
    are never fetched from, beside all that are not public: public ones of inner machines, a NAT64 prefix of one's own.

    Callers. requests_per_second: of one key, or of one address where no keys are asked for, in the long run. burst: as many at
    once after a rest. tracked: keys or addresses remembered, those seen last.
    """

    form_bytes: PositiveInt = 12 * MEGA
    json_bytes: PositiveInt = 4 * MEGA
    body_seconds: PositiveFloat = 30.0
    linger_seconds: PositiveFloat = 2.0
    json_depth: PositiveInt = 16
    text_chars: PositiveInt = MAX_TEXT
    fields: PositiveInt = MOST_FIELDS
    field_chars: PositiveInt = 1_000
    batch_rows: PositiveInt = 1024

    picture_bytes: PositiveInt = 8 * MEGA
    picture_pixels: PositiveInt = 16_000_000

    image_hosts: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = ()
    url_chars: PositiveInt = 2048
    fetch_seconds: PositiveFloat = 3.0
    redirects: Annotated[int, Field(ge=0)] = 3
    fetches: PositiveInt = 16
    refused_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    requests_per_second: PositiveFloat = 50.0
    burst: PositiveInt = 200
    tracked: PositiveInt = 10_000

    @property
    def fetching(self) -> FetchLimits:
        """The part that the fetcher of image URLs keeps to."""
        return FetchLimits(**{name: getattr(self, name) for name in FetchLimits.model_fields})


def read_limits(assignments: Sequence[str]) -> Limits:
    """Limits with some changed: `picture_bytes=1000000`, `image_hosts=[images.example.com]` (values as in YAML).

    Raises UserError for an unknown name, a bad value or a line without `=`.
    """
    changed = {}
    for line in assignments:
        name, equals, value = line.partition("=")
        if not equals:
            raise UserError(
                f"'{line}' changes no limit",
                code="limit-unknown",
                hint="write it as NAME=VALUE, like json_bytes=1000000",
            )
        try:
            changed[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(
                f"the value of '{line}' cannot be read", code="limit-unreadable", hint="write it as in YAML"
            ) from None
    return make_config(Limits, changed)


ACCEPTED = tuple(name for name in FORMATS if name != "TIFF")
"""No TIFF: a dozen codecs behind one name, whose library writes what it thinks of a file to the standard error."""

# Pillow warns of odd files on the standard error, with its own path; nothing here can mend them.
warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
_SCANS = 64
"""A scan of 42 bytes makes the decoder go over the whole image once more: 8 MB of them would keep a core busy for the better
part of an hour. Encoders write one, or about ten in progressive files."""


def decode_image(data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    """The image as `core.images.decode` gives it, (size, size, 3) RGB, within `picture_bytes` and `picture_pixels`.

    Takes up to 32 bytes of memory per pixel of the file and a processor for up to a second: call it in a thread, and in few at a
    time. The media type that was sent is ignored; `ACCEPTED` formats are recognised by their content. Of an
    animation the first image is taken, as in training.

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
