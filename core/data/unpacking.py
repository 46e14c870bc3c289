"""Opener of table files: detects the format by content and unpacks `.gz` and `.zip` within a bounded size."""

from __future__ import annotations

import gzip
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import UserError, some

MOST_BYTES = 8 << 30
"""Size of an unpacked table, at most."""
MOST_TIMES, ALWAYS_ALLOWED = 200, 256 << 20
"""A table unpacks to at most so many times its packed size (text: 3 to 20 times), or to this many bytes if that is more."""
IN_MEMORY = 64 << 20
"""Unpacked tables above this size wait in a temporary file."""
_BLOCK = 1 << 20
_HEAD = 4096
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What reading a damaged archive raises."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class TableFormat(StrEnum):
    """Formats that are read."""

    CSV = "CSV"
    PARQUET = "Parquet"
    JSON_LINES = "JSON Lines"
    EXCEL = "Excel"


_FOREIGN = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\xd0\xcf\x11\xe0": "an old (.xls) or password-protected Excel file",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"ARROW1": "an Arrow (Feather) file",
    b"SQLite format 3": "an SQLite database",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_READ = "CSV, Parquet, JSON Lines or Excel (.xlsx), as it is or in one .gz or .zip"


@dataclass
class OpenTable:
    """An unpacked table. stream: seekable, at its beginning. notes: for people, on what was unpacked."""

    path: Path
    stream: IO[bytes]
    format: TableFormat
    notes: list[str]


@contextmanager
def open_table(path: Path) -> Iterator[OpenTable]:
    """The table in the file, unpacked. Raises UserError for what is no table, and for archives that are too large or broken."""
    _check_file(path)
    with ExitStack() as stack:
        try:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            if not path.is_file():  # a pipe gives its bytes once
                stream = stack.enter_context(_spooled(path, _blocks(stream, _unreadable(path, "")), MOST_BYTES))
            stream, notes = _unpacked(path, stream, stack)
            format_ = _format(path, stream)
        except OSError as error:
            raise _unreadable(path, f": {error.strerror or error}") from None
        yield OpenTable(path, stream, format_, notes)


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read{why}",
        code="csv-unreadable",
        hint="check the file's permissions, and the space in the temporary folder where it is unpacked",
    )


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: there is no such file", code="csv-missing", hint="check the path")
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, not a table",
            code="csv-is-folder",
            hint=f"name the file in it, for example {path / 'train.csv'}",
        )


def _peek(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    head = stream.read(_HEAD)
    stream.seek(0)
    return head


def _unpacked(path: Path, stream: IO[bytes], stack: ExitStack) -> tuple[IO[bytes], list[str]]:
    head = _peek(stream)
    if head.startswith(b"\x1f\x8b"):
        inside = _gunzipped(path, stream, stack)
        notes = []
    elif head.startswith(_ZIP) and not _is_excel(path, stream):
        inside, name = _unzipped(path, stream, stack)
        notes = [f"{path}: {name} is read"]
    else:
        return stream, []
    head = _peek(inside)
    if head.startswith(b"\x1f\x8b") or (head.startswith(_ZIP) and not _is_excel(path, inside)):
        raise UserError(
            f"{path} holds another archive", code="archive-nested", hint="unpack it, and name the table that lies in it"
        )
    return inside, notes


def _size_limit(packed: int) -> int:
    return min(MOST_BYTES, max(ALWAYS_ALLOWED, MOST_TIMES * packed))


def _size(stream: IO[bytes]) -> int:
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


def _too_large(path: Path, limit: int) -> UserError:
    return UserError(
        f"{path} unpacks to more than {limit >> 20:,} MiB",
        code="archive-too-large",
        hint=f"an archive may unpack to {MOST_TIMES} times its size and {MOST_BYTES >> 30} GiB; if it is a real table, unpack it "
        "yourself and name the unpacked file",
    )


def _blocks(source: IO[bytes] | gzip.GzipFile, broken: UserError) -> Iterator[bytes]:
    """The bytes to the end. Raises `broken` where the source cannot be read."""
    try:
        while block := source.read(_BLOCK):
            yield block
    except BROKEN:
        raise broken from None


@contextmanager
def _spooled(path: Path, blocks: Iterator[bytes], limit: int) -> Iterator[IO[bytes]]:
    """A seekable copy, counted while it is written. Raises UserError at the first byte over the limit."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as copy:
        for block in blocks:
            copy.write(block)
            if copy.tell() > limit:
                raise _too_large(path, limit)
        copy.seek(0)
        yield copy


def _gunzipped(path: Path, stream: IO[bytes], stack: ExitStack) -> IO[bytes]:
    broken = UserError(
        f"{path} is not a whole gzip file", code="csv-bad-gzip", hint="copy the file again, or unpack it first"
    )
    blocks = _blocks(gzip.GzipFile(fileobj=stream), broken)
    return stack.enter_context(_spooled(path, blocks, _size_limit(_size(stream))))


def _opened_zip(path: Path, stream: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except BROKEN:
        raise _broken_zip(path) from None


def _broken_zip(path: Path) -> UserError:
    return UserError(
        f"{path} is not a whole zip file, or is packed in a way that is not known",
        code="archive-broken",
        hint="copy the file again, or unpack it first",
    )


def _is_excel(path: Path, stream: IO[bytes]) -> bool:
    with _opened_zip(path, stream) as archive:
        return "xl/workbook.xml" in archive.namelist()


def _unzipped(path: Path, stream: IO[bytes], stack: ExitStack) -> tuple[IO[bytes], str]:
    """The one table of an archive, and its name."""
    limit = _size_limit(_size(stream))
    with _opened_zip(path, stream) as archive:
        entries = [each for each in archive.infolist() if not _is_litter(each.filename)]
        if len(entries) != 1:
            held = f"{len(entries)} files: {some(each.filename[:80] for each in entries)}" if entries else "no file"
            raise UserError(
                f"{path} holds {held}", code="archive-not-one-table", hint="pack the one table that is to be read"
            )
        (entry,) = entries
        if entry.file_size > limit:
            raise _too_large(path, limit)
        if entry.flag_bits & 1:
            raise UserError(
                f"{path} is protected by a password", code="archive-encrypted", hint="unpack it, and name the table"
            )
        try:
            source = stack.enter_context(archive.open(entry))
        except BROKEN:
            raise _broken_zip(path) from None
        blocks = _blocks(source, _broken_zip(path))
        return stack.enter_context(_spooled(path, blocks, limit)), entry.filename[:80]


def _is_litter(name: str) -> bool:
    """True for folders, and for what macOS and Windows put into archives beside the files."""
    path = PurePosixPath(name)
    return (
        not name
        or name.endswith("/")
        or name.startswith("__MACOSX/")
        or path.name.startswith("._")
        or path.name in {".DS_Store", "Thumbs.db"}
    )


def _format(path: Path, stream: IO[bytes]) -> TableFormat:
    head = _peek(stream)
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise _no_table(path, kind)
    if head[257:262] == b"ustar":
        raise _no_table(path, "a tar archive")
    if head.startswith(b"PAR1"):
        return TableFormat.PARQUET
    if head.startswith(_ZIP):
        return TableFormat.EXCEL
    text = head.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").lstrip()  # behind a byte order mark, UTF-16 as well
    if text[:14].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<head")):
        raise _no_table(path, "a web page or XML document")
    if text.startswith(b"[") and text[1:].lstrip().startswith(b"{"):
        raise UserError(
            f"{path} is one JSON list",
            code="table-json-list",
            hint="write one object a line (JSON Lines), as pandas' to_json(orient='records', lines=True) does",
        )
    return TableFormat.JSON_LINES if text.startswith(b"{") else TableFormat.CSV


def _no_table(path: Path, kind: str) -> UserError:
    return UserError(f"{path} is {kind}, not a table", code="table-other-format", hint=f"give {_READ}")
