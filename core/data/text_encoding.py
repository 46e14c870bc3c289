"""Text encoding of a file by its content: UTF-8, UTF-16, else Windows-1252; damaged UTF-8 is refused at its place."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

from core.errors import UserError

_BLOCK = 1 << 20
_HEAD = 64
"""Bytes that show UTF-16 without a byte order mark: half of those of a header are zero."""
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r"})
_BINARY_SHARE = 0.01
_HIGH, _HIGH_RUNS = re.compile(rb"[\x80-\xff]"), re.compile(rb"[\x80-\xff]{3,}")
_FEW_LETTERS, _IN_RUNS = 20, 0.5
"""Of bytes beyond ASCII, this share stands in runs of three and more in Cyrillic, Greek, Arabic, Thai, Chinese and Korean text
(mostly 90% and more); in Western European text hardly any does (at most 2% in our catalogs)."""
_NOTES = {
    "utf-16": "read as UTF-16",
    "utf-16-le": "read as UTF-16 (little-endian, without a byte order mark)",
    "utf-16-be": "read as UTF-16 (big-endian, without a byte order mark)",
    "cp1252": "not UTF-8, so read as Windows-1252 (Western European); if letters are wrong, save it as UTF-8",
}


def open_text(path: Path, stream: IO[bytes]) -> tuple[TextIO, list[str]]:
    """The text from its beginning, line ends as they stand, and a note where it is not UTF-8.

    The whole stream is looked at first, so that no row is read before the encoding is known. Raises UserError for
    bytes that are no text.
    """
    encoding = _encoding(path, stream)
    stream.seek(0)
    notes = [f"{path}: {_NOTES[encoding]}"] if encoding in _NOTES else []
    return io.TextIOWrapper(stream, encoding, newline=""), notes


def _encoding(path: Path, stream: IO[bytes]) -> str:
    stream.seek(0)
    head = stream.read(_HEAD)
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    zeros = head[0::2].count(0), head[1::2].count(0)
    if encoding is None and max(zeros) > _HEAD // 4 and min(zeros) == 0:
        encoding = "utf-16-le" if zeros[1] else "utf-16-be"
    error = _first_error(stream, encoding or "utf-8")
    if error is None:
        return encoding or "utf-8"
    if encoding is None:
        _check_binary(path, stream)
    if encoding is not None or _is_damaged_utf8(stream) or _first_error(stream, "cp1252") is not None:
        raise _damaged(path, stream, encoding or "utf-8", error)
    _check_western(path, stream)
    return "cp1252"


def _check_binary(path: Path, stream: IO[bytes]) -> None:
    stream.seek(0)
    block = stream.read(_BLOCK)
    if len(block) - len(block.translate(None, _CONTROLS)) > _BINARY_SHARE * len(block):
        raise UserError(
            f"{path} is binary data, not a table",
            code="table-binary",
            hint="give CSV, Parquet, JSON Lines or Excel (.xlsx)",
        )


def _check_western(path: Path, stream: IO[bytes]) -> None:
    """Raises UserError where bytes beyond ASCII come in runs: then they are no Western European letters."""
    letters = in_runs = 0
    for block, _ in _blocks(stream):
        letters += len(_HIGH.findall(block))
        in_runs += sum(len(run) for run in _HIGH_RUNS.findall(block))
    if letters >= _FEW_LETTERS and in_runs > _IN_RUNS * letters:
        raise UserError(
            f"{path} is neither UTF-8 nor Western European (Windows-1252)",
            code="csv-unknown-encoding",
            hint=f"convert it from the encoding it was saved in, such as CP1251, GB18030, SHIFT-JIS or EUC-KR: "
            f"iconv -f CP1251 -t UTF-8 {path} > {path.stem}-utf8.csv",
        )


def is_blank(stream: IO[bytes]) -> bool:
    """True for a file without anything but blanks."""
    stream.seek(0)
    return all(not block.removeprefix(codecs.BOM_UTF8).strip() for block in iter(lambda: stream.read(_BLOCK), b""))


def _blocks(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The file's bytes, and an empty end."""
    stream.seek(0)
    while block := stream.read(_BLOCK):
        yield block, False
    yield b"", True


def _first_error(stream: IO[bytes], encoding: str) -> int | None:
    """Place of the first byte that the encoding does not have, in bytes from the beginning."""
    decoder, before = codecs.getincrementaldecoder(encoding)(), 0
    for block, final in _blocks(stream):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final)
        except UnicodeDecodeError as error:
            return max(0, before - pending + error.start)
        before += len(block)
    return None


def _is_damaged_utf8(stream: IO[bytes]) -> bool:
    """True where more characters beyond ASCII are right in UTF-8 than wrong: another encoding hardly ever looks like that."""
    decoder, right, wrong = codecs.getincrementaldecoder("utf-8")("replace"), 0, 0
    for block, final in _blocks(stream):
        text = decoder.decode(block, final)
        faults = text.count("\ufffd")
        wrong += faults
        right += len(text) - len(text.encode("ascii", "ignore")) - faults
    return right > wrong


def _damaged(path: Path, stream: IO[bytes], encoding: str, place: int) -> UserError:
    stream.seek(0)
    line, left, last = 1, place, b""
    while left and (block := stream.read(min(_BLOCK, left))):
        line, left, last = line + block.count(b"\n"), left - len(block), block
    byte = stream.read(1)
    shown = last[-40:].decode(encoding, errors="ignore")[-20:]
    bad = f"the byte 0x{byte[0]:02x}" if byte else "nothing"
    return UserError(
        f"{path} is not {encoding.removesuffix('-sig').upper()}: line {line} has {bad} after {shown!r}",
        code="csv-not-utf8",
        hint="save it again as UTF-8, or correct that line",
    )
