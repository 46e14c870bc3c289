"""Service limits: every bound and its default, in one frozen object."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from core.data.reading import MAX_TEXT
from core.errors import UserError
from core.protocols.architecture import Config, make_config
from serving.common.image_urls import check_pattern

MEGA = 2**20


class Limits(Config):
    """The bounds of one service; docs/security.md says what happens at each.

    Requests. form_bytes: of a form's body, with what it uploads. json_bytes: of any other body. body_seconds: until all of it has
    come. linger_seconds: for which the rest of a refused body is read and dropped, so that its sender hears the answer.
    json_depth: of brackets in brackets. text_chars: of one product's text (what is longer is cut in training, and refused here).
    batch_rows: of one batch.

    Pictures, uploaded or fetched. picture_bytes: of the file. picture_pixels: width times height, by the file's header.

    Image URLs. image_hosts: names that pictures may be fetched from, `*.example.com` for all below a name, `*` for all; with
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
