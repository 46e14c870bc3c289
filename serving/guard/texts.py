"""What a product's text may be before a model reads it."""

from __future__ import annotations

from serving.guard.limits import Limits


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
