"""Download of encoders from the hub into its cache: facts first, resumed when cut, sizes and hashes checked."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import HfApi, RepoFile, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, httpx  # type: ignore[attr-defined]

from core.atomic_files import locked, write_text
from core.cache import size_text
from core.console import ProgressBar, progress, say, warnings
from core.encoders.hub_cache import cache_folder, found, needed, repository_folder
from core.encoders.presets import PRESETS
from core.encoders.weights import is_bin_weights, is_weights
from core.errors import UserError

NOT_STATED = "not stated"
_ASK_SECONDS = 10.0
_READ_SECONDS = 30.0
_ATTEMPTS = 4
"""Attempts of one file without a new byte before it is given up; the first pause between them, which doubles."""
_PAUSE_SECONDS = 0.5
_LINE_SECONDS = 30.0
_PAST_THE_END = 416
_SHA256_DIGITS = 64
_RESERVE = 2**26
"""Bytes that stay free on the disk."""


@dataclass(frozen=True)
class HubFile:
    """File of a repository. hash: SHA-256 of a large file, git's id of a small one; its name in the hub's cache."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True)
class HubEncoder:
    """Encoder as the hub describes it at one commit. parameters: None where neither the hub nor a preset states them."""

    name: str
    repository: str
    commit: str
    files: tuple[HubFile, ...]
    licence: str | None
    parameters: int | None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def sentence(self) -> str:
        """Repository, bytes, licence and parameters, as they are printed before a download."""
        return (
            f"{self.name}: {self.repository}, {size_text(self.size)} ({self.size:,} bytes), licence "
            f"{self.licence or NOT_STATED}, {parameters_text(self.parameters)}"
        )


def parameters_text(parameters: int | None) -> str:
    """`222 M parameters`; `parameters not stated`."""
    return f"parameters {NOT_STATED}" if parameters is None else f"{parameters / 1e6:,.0f} M parameters"


def repository_of(name: str) -> str:
    """The repository that a short name or hub name stands for."""
    return PRESETS[name].hub if name in PRESETS else name


def ask(name: str) -> HubEncoder:
    """What the hub says of the encoder, in one request, or two where it gives no sizes at first.

    Raises UserError for a repository that is unknown or gated or holds no weights, and where the hub cannot be reached.
    """
    repository = repository_of(name)
    with _explained(name, repository):
        api = HfApi()
        info = api.model_info(repository, files_metadata=True, timeout=_ASK_SECONDS)
        commit = str(info.sha)
        files = {file.rfilename: _hub_file(file) for file in info.siblings or () if file.size is not None}
        if not files:
            listed = api.list_repo_tree(repository, revision=commit)
            files = {file.rfilename: _hub_file(file) for file in listed if isinstance(file, RepoFile)}
    if not all(map(_is_hash, (commit, *(file.hash for file in files.values())))):
        raise UserError(
            f"the hub's answer about '{repository}' lacks hashes by which its files could be checked",
            code="hub-bad-answer",
            hint="ask who runs the proxy or mirror in between (HF_ENDPOINT)",
        )
    chosen = tuple(files[each] for each in needed(files))
    encoder = HubEncoder(name, repository, commit, chosen, _licence(info), _parameters(name, info))
    _check_kind(encoder)
    return encoder


def _hub_file(file: Any) -> HubFile:
    return HubFile(file.rfilename, int(file.size), str(file.blob_id if file.lfs is None else file.lfs["sha256"]))


def _is_hash(text: str) -> bool:
    """True for what may name a file: anything else could lead out of the cache."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def _licence(info: Any) -> str | None:
    card = info.card_data
    stated = None if card is None else card.get("license")
    tagged = [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
    return str(stated) if stated else next(iter(tagged), None)


def _parameters(name: str, info: Any) -> int | None:
    if name in PRESETS:
        return round(PRESETS[name].parameters * 1e6)
    return None if info.safetensors is None else int(info.safetensors.total)


def _check_kind(encoder: HubEncoder) -> None:
    names = {file.name for file in encoder.files}
    if "config.json" not in names or not any(is_weights(name) or is_bin_weights(name) for name in names):
        raise UserError(
            f"the repository {encoder.repository} holds no encoder: it needs config.json and weights as "
            "model*.safetensors or pytorch_model*.bin",
            code="encoder-repository-without-weights",
            hint="name another repository; docs/encoders.md lists families",
        )


def fetch(names: Sequence[str]) -> None:
    """Downloads those of these encoders that are not in the cache; says what each is before the first byte.

    Raises UserError where one cannot be had; nothing half-downloaded counts as an encoder, and the same call goes on from there.
    """
    absent = [name for name in dict.fromkeys(names) if found(repository_of(name)) is None]
    encoders = [ask(name) for name in absent]
    for each in encoders:
        say(f"fetching {each.sentence}")
    _check_disk(encoders)
    for each in encoders:
        started = time.monotonic()
        with _explained(each.name, each.repository):
            _download(each)
        say(f"fetched {each.name} in {time.monotonic() - started:.0f} s into {cache_folder()}")


def _check_disk(encoders: Sequence[HubEncoder]) -> None:
    """Raises UserError where the disk cannot hold what is missing, and the safetensors that `.bin` weights are turned into."""
    missing = 0
    for each in encoders:
        missing += sum(file.size - _there(each, file) for file in each.files)
        missing += sum(file.size for file in each.files if is_bin_weights(file.name))
    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if missing and missing + _RESERVE > free:
        raise UserError(
            f"{' and '.join(each.name for each in encoders)} need {size_text(missing)} of disk, and {there} has "
            f"{size_text(free)} free",
            code="encoder-disk-full",
            hint="free some space, or set HF_HOME to a folder on another disk",
        )


def _paths(encoder: HubEncoder, file: HubFile) -> tuple[Path, Path]:
    """The file's blob, and the file that it is written to before it is whole."""
    blob = repository_folder(encoder.repository) / "blobs" / file.hash
    return blob, blob.with_name(f"{blob.name}.pricestack.incomplete")


def _there(encoder: HubEncoder, file: HubFile) -> int:
    """Bytes of the file that are on this machine."""
    blob, partial = _paths(encoder, file)
    return next((path.stat().st_size for path in (blob, partial) if path.is_file()), 0)


def _download(encoder: HubEncoder) -> None:
    folder = repository_folder(encoder.repository)
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    with locked(folder / ".pricestack.lock"), progress(f"fetching {encoder.name}") as bar:
        done, shown = 0, _Shown(encoder, bar)
        for file in encoder.files:
            bar.begin(file.name)
            _Transfer(encoder, file, partial(shown, done)).run()
            done += file.size
        _point(encoder, folder)


class _Shown:
    """What people see of a download: a bar on a terminal, else a line every half minute."""

    def __init__(self, encoder: HubEncoder, bar: ProgressBar) -> None:
        self._encoder, self._bar, self._last = encoder, bar, time.monotonic()

    def __call__(self, before: int, here: int) -> None:
        """before: bytes of the files that are whole. here: of the one that comes."""
        self._bar(before + here, self._encoder.size)
        if not warnings.is_terminal and time.monotonic() - self._last > _LINE_SECONDS:
            self._last = time.monotonic()
            say(f"{self._encoder.name}: {size_text(before + here)} of {size_text(self._encoder.size)}")


def _point(encoder: HubEncoder, folder: Path) -> None:
    """Makes the snapshot, config.json last: without it, no folder counts as an encoder."""
    snapshot = folder / "snapshots" / encoder.commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for file in sorted(encoder.files, key=lambda file: file.name == "config.json"):
        place, made = snapshot / file.name, snapshot / f".{file.name}.{os.getpid()}"
        made.unlink(missing_ok=True)
        made.symlink_to(Path("..", "..", "blobs", file.hash))
        made.replace(place)
    write_text(folder / "refs" / "main", encoder.commit)


class _Transfer:
    """Transfer of one file: resumed where it was cut, now or by an earlier process, and checked before it counts."""

    def __init__(self, encoder: HubEncoder, file: HubFile, advance: Callable[[int], None]) -> None:
        self._encoder, self._file, self._advance = encoder, file, advance
        self._blob, self._partial = _paths(encoder, file)
        self._url = hf_hub_url(encoder.repository, file.name, revision=encoder.commit)

    def run(self) -> None:
        """Raises UserError where the file stays incomplete, or is not what the hub had said."""
        if self._blob.is_file():
            return
        with self._partial.open("ab") as output:
            if output.tell() > self._file.size:
                output.truncate(0)
            self._fill(output)
            output.flush()
            os.fsync(output.fileno())
        self._check()
        self._partial.replace(self._blob)

    def _fill(self, output: BinaryIO) -> None:
        attempts, pause = _ATTEMPTS, _PAUSE_SECONDS
        while (before := self._size(output)) < self._file.size:
            try:
                self._receive(output)
            except httpx.TransportError as error:
                cause = str(error) or type(error).__name__
            except HfHubHTTPError as error:
                if error.response.status_code == _PAST_THE_END:
                    return
                if error.response.status_code < 500:
                    raise
                cause = f"HTTP status {error.response.status_code}"
            else:
                cause = "the connection was closed"
            attempts = _ATTEMPTS if self._size(output) > before else attempts - 1
            if self._size(output) < self._file.size:
                if not attempts:
                    raise self._cut(self._size(output), cause)
                time.sleep(pause)
                pause = _PAUSE_SECONDS if attempts == _ATTEMPTS else 2 * pause

    def _receive(self, output: BinaryIO) -> None:
        """Writes what one request brings. Stops at the first byte too many, which `_check` then finds."""
        have = self._size(output)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with get_session().stream("GET", self._url, headers=headers, timeout=_READ_SECONDS) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            if have and response.status_code != 206:
                output.truncate(0)
                have = 0
            for piece in response.iter_bytes():
                output.write(piece)
                have += len(piece)
                self._advance(have)
                if have > self._file.size:
                    return

    def _size(self, output: BinaryIO) -> int:
        output.flush()
        return os.fstat(output.fileno()).st_size

    def _check(self) -> None:
        """Raises UserError, and removes the file, where its size or its hash is another than the hub had said."""
        size = self._partial.stat().st_size
        wrong = f"{size:,} bytes instead of {self._file.size:,}" if size != self._file.size else self._wrong_hash()
        if wrong is None:
            return
        self._partial.unlink()
        raise UserError(
            f"the download of {self._file.name} of {self._encoder.repository} is not what the hub had announced: {wrong}",
            code="encoder-download-wrong",
            hint="run the same command again; if it happens again, ask who runs the proxy or mirror in between (HF_ENDPOINT)",
        )

    def _wrong_hash(self) -> str | None:
        if len(self._file.hash) == _SHA256_DIGITS:
            return None if self._hash(hashlib.sha256()) == self._file.hash else "its SHA-256 differs"
        # git hashes a header in front of the bytes; mirrors that are no git repository hash the bytes alone.
        framed = self._hash(hashlib.sha1(f"blob {self._file.size}\0".encode()))
        known = framed == self._file.hash or self._hash(hashlib.sha1()) == self._file.hash
        return None if known else "its SHA-1 differs"

    def _hash(self, state: Any) -> str:
        with self._partial.open("rb") as file:
            return hashlib.file_digest(file, lambda: state).hexdigest()

    def _cut(self, have: int, cause: str) -> UserError:
        return UserError(
            f"the download of {self._file.name} of {self._encoder.repository} was cut at {have:,} of "
            f"{self._file.size:,} bytes: {cause}",
            code="encoder-download-cut",
            hint="run the same command again: it goes on from there",
        )


@contextmanager
def _explained(name: str, repository: str) -> Iterator[None]:
    """Turns errors of the hub and of the network into a UserError, and silences the library's own lines about them."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except GatedRepoError:
        raise UserError(
            f"the encoder '{name}' is gated: its owner wants to be asked first",
            code="encoder-gated",
            hint=f"ask on https://huggingface.co/{repository}, then `hf auth login` (or HF_TOKEN), and run this again",
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"the hub knows no repository '{repository}'",
            code="encoder-not-on-hub",
            hint="look the name up on https://huggingface.co; for a private repository, `hf auth login` first",
        ) from None
    except HfHubHTTPError as error:
        raise _refused(name, error) from None
    except (httpx.HTTPError, ConnectionError, ValueError) as error:
        raise _unreachable(name, repository, error) from None
    finally:
        logger.setLevel(level)


def _refused(name: str, error: HfHubHTTPError) -> UserError:
    status = error.response.status_code
    if status == 429:
        return UserError(
            f"the hub answers no more requests from this address for now (429), so '{name}' cannot be fetched",
            code="hub-rate-limit",
            hint="wait five minutes and run this again, or log in with `hf auth login`, which allows more",
        )
    return UserError(
        f"the hub refused to send '{name}' (HTTP status {status}): {str(error).splitlines()[0]}",
        code="hub-refused",
        hint="run this again later; https://status.huggingface.co says whether the hub works",
    )


def _unreachable(name: str, repository: str, error: Exception) -> UserError:
    return UserError(
        f"the encoder '{name}' is not on this machine, and the hub cannot be reached: {str(error).splitlines()[0]}",
        code="encoder-not-fetched",
        hint=f"where there is a network, run `python -m core.encoders fetch {name}` (or `hf download {repository} "
        f"--local-dir FOLDER`, copy the folder and name it); or use tiny / tiny-vision, which need no files",
    )
