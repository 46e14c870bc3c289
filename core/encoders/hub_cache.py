"""Hub cache: finds downloaded encoders by repository name, without a request; knows the files that an encoder consists of.

The cache is huggingface_hub's own (`HF_HOME`, `HF_HUB_CACHE`): what other programs have downloaded is found too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from huggingface_hub import constants, get_cached_repo_tree, try_to_load_from_cache
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.repocard import metadata_load

from core.encoders.weights import are_whole, is_bin_weights, is_weights

CARD = "README.md"
CONTENT = (".json", ".safetensors", ".txt", ".model")
"""Suffixes of the files that decide what an encoder computes: config, weights, tokenizer, statistics of images."""

_CONFIG = "config.json"


def cache_folder() -> Path:
    """Folder of the hub's cache."""
    return Path(constants.HF_HUB_CACHE)


def repository_folder(repository: str) -> Path:
    """Folder of a repository in the cache: `blobs`, `refs` and `snapshots`."""
    return cache_folder() / repo_folder_name(repo_id=repository, repo_type="model")


def needed(names: Iterable[str]) -> list[str]:
    """Files of a repository that an encoder consists of, sorted, with its card; `.bin` weights only where there are no others."""
    top = sorted(name for name in names if "/" not in name)
    kept = {name for name in top if name.endswith(CONTENT) or name == CARD}
    if not any(is_weights(name) for name in kept):
        kept |= {name for name in top if is_bin_weights(name)}
    return sorted(kept)


_FOUND: dict[tuple[Path, str], Path] = {}
"""Snapshots found in a cache: they never change, so each is looked up once in a process."""


def found(repository: str) -> Path | None:
    """Snapshot of the repository in the cache, if every file of the encoder is there; else None."""
    key = (cache_folder(), repository)
    if key not in _FOUND or not (_FOUND[key] / _CONFIG).is_file():
        folder = _look_up(repository)
        if folder is None:
            return None
        _FOUND[key] = folder
    return _FOUND[key]


def _look_up(repository: str) -> Path | None:
    try:
        config = try_to_load_from_cache(repository, _CONFIG)
    except ValueError:  # no name of a repository
        return None
    if not isinstance(config, str) or not are_whole(Path(config).parent):
        return None
    folder = Path(config).parent
    listed = needed(_listing(repository))
    return folder if all((folder / name).is_file() for name in listed if name != CARD) else None


def _listing(repository: str) -> list[str]:
    """Names of the repository's files where huggingface_hub has noted them, else an empty list."""
    try:
        return [file.path for file in get_cached_repo_tree(repository)]
    except CachedRepoTreeNotFoundError:
        return []


def licence(folder: Path) -> str | None:
    """Licence that the model's card in the folder states; None where there is no card, or none that says."""
    try:
        metadata = metadata_load(folder / CARD) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return None
    stated = metadata.get("license")
    return stated if isinstance(stated, str) else None
