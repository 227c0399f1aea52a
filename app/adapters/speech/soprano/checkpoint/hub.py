"""Where a checkpoint is: a directory, or a repository of the Hugging Face hub in the hub's cache.

Downloads only when told to. The cache, the proxy, the access token and being offline
(HF_HUB_OFFLINE) are the library's business, huggingface_hub; its errors become one line each that
says what to do. Knows nothing of what the files hold.
"""

import errno
import re
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog

from app.adapters.speech.soprano.checkpoint.checkpoint import DECODER, REQUIRED_FILES, missing_files
from app.adapters.speech.soprano.checkpoint.tensor_files import unreadable
from app.domain.errors import CheckpointError
from app.ports.clock import Clock

DEFAULT_REPO: Final = "ekwek/Soprano-1.1-80M"

# What is fetched of a repository. The last two are used by transformers where they exist.
FILES: Final = (*REQUIRED_FILES, "generation_config.json", "special_tokens_map.json")

_REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

_log = structlog.get_logger(__name__)


class CachedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a repository (owner/name) in the hub's cache."""

    repo: str
    revision: str  # the hash of its commit
    refs: tuple[str, ...]  # branches and tags that stood for it when it was fetched
    num_bytes: int  # of its files on disk
    path: Path  # the directory of its files
    is_complete: bool  # no file of a checkpoint is missing


def locate(model: str, revision: str | None, *, may_download: bool, clock: Clock) -> Path:
    """The directory of a model: itself if it is one, else of a repository, cached or fetched.

    `model` is a directory, or a repository as owner/name, of which `revision` is a branch, a tag or
    a commit; None is its main branch. Raises CheckpointError, which says what to do.
    """
    try:
        if Path(model).is_dir():
            return Path(model)
    except OSError as error:
        raise unreadable(Path(model), error) from error
    if not is_repo(model):
        raise CheckpointError(
            f"{model} is no directory, and no repository of the Hugging Face hub (owner/name)."
        )
    cached = find_cached(model, revision)
    if cached is not None:
        return cached
    if not may_download:
        raise CheckpointError(
            f"{_named(model, revision)} is not on this machine, or only in part:"
            f" {how_to_pull(model, revision)} fetches it."
        )
    return download(model, revision, clock=clock)


def is_repo(model: str) -> bool:
    """Whether it reads like owner/name."""
    return _REPO_ID.fullmatch(model) is not None


def find_cached(model: str, revision: str | None) -> Path | None:
    """The directory of a repository in the hub's cache if it has every file; asks no server."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = f"models--{model.replace('/', '--')}"  # the layout of the hub's cache
    if not Path(HF_HUB_CACHE, folder).is_dir():
        return None  # without the rest of the library, which takes 0.1 s to import
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            model, revision=revision, allow_patterns=list(FILES), local_files_only=True
        )
        return None if missing_files(Path(snapshot)) else Path(snapshot)
    except (CheckpointError, OSError, ValueError):  # not there, unreadable, or no name of a repo
        return None


def download(model: str, revision: str | None, *, clock: Clock, is_forced: bool = False) -> Path:
    """Fetch a repository into the hub's cache, or what of it is new; gives its directory.

    Shows a bar on a terminal and logs otherwise. If the hub cannot be reached but the repository is
    cached, that is what it gives. `is_forced` fetches what is in the cache as well: it may be
    damaged. The other arguments and the error are those of `locate`.
    """
    from huggingface_hub import snapshot_download

    is_shown = sys.stderr.isatty()
    started_s = clock.monotonic()
    if not is_shown:
        _log.info("checkpoint.download_started", repo=model, revision=revision)
    try:
        fetched = snapshot_download(
            model, revision=revision, allow_patterns=list(FILES), force_download=is_forced
        )
    except Exception as error:  # its HTTP client, and so its errors, changed between versions
        reason = explain_failure(error, model, revision)
        raise CheckpointError(f"{_named(model, revision)} cannot be fetched: {reason}.") from error
    snapshot = Path(fetched)
    if missing := missing_files(snapshot):
        raise CheckpointError(
            f"{_named(model, revision)} is no Soprano checkpoint: it has no {', '.join(missing)}."
        )
    if not is_shown:
        _log.info(
            "checkpoint.download_finished",
            repo=model,
            revision=snapshot.name,
            num_bytes=sum(one.stat().st_size for one in snapshot.iterdir() if one.is_file()),
            duration_s=round(clock.monotonic() - started_s, 3),
        )
    return snapshot


def list_cached() -> list[CachedCheckpoint]:
    """Revisions in the hub's cache that have a decoder as Soprano does, by name.

    Raises CheckpointError if the cache cannot be read.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    except OSError as error:
        raise unreadable(Path(error.filename or HF_HUB_CACHE), error) from error
    found = [
        CachedCheckpoint(
            repo=repo.repo_id,
            revision=cached.commit_hash,
            refs=tuple(sorted(cached.refs)),
            num_bytes=cached.size_on_disk,
            path=cached.snapshot_path,
            is_complete=not missing_files(cached.snapshot_path),
        )
        for repo in repos
        for cached in repo.revisions
        if any(file.file_name == DECODER for file in cached.files)
    ]
    return sorted(found, key=lambda cached: (cached.repo, cached.refs, cached.revision))


def _named(model: str, revision: str | None) -> str:
    return f"{model} (revision {revision})" if revision else model


def how_to_pull(model: str, revision: str | None) -> str:
    """The command that fetches a repository."""
    chosen = f" --revision {revision}" if revision else ""
    return f"`soprano-api models pull {model}{chosen}`"


def explain_failure(error: BaseException, model: str, revision: str | None) -> str:
    """Why a repository could not be fetched, and what to do; no full stop at the end."""
    from huggingface_hub import errors

    again = f"then try {how_to_pull(model, revision)}, or name a directory that has the files"
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if is_full or "No space left" in str(error):
        return f"the disk of the hub's cache is full; make room (HF_HUB_CACHE moves it), {again}"
    if isinstance(error, OSError) and error.filename is not None:  # those of sockets have none
        return (
            f"the hub's cache cannot be used ({error.filename}: {error.strerror}); mend that"
            f" (HF_HUB_CACHE moves it), {again}"
        )
    if (answer := _explain_answer(error, model, revision)) is not None:
        return answer
    # What it was raised from, in turn, the error itself first.
    reasons = [error]
    while (cause := reasons[-1].__cause__) is not None and cause not in reasons:
        reasons.append(cause)
    if any(isinstance(one, errors.OfflineModeIsEnabled) for one in reasons):
        return f"HF_HUB_OFFLINE forbids to ask the hub; unset it, {again}"
    statuses = (getattr(getattr(one, "response", None), "status_code", None) for one in reasons)
    if (status := next(filter(None, statuses), None)) is not None:
        return f"the hub answered with status {status}; wait, {again}"
    name = type(reasons[-1]).__name__
    return f"the hub cannot be reached ({name}); check the connection, {again}"


def _explain_answer(error: BaseException, model: str, revision: str | None) -> str | None:
    """What the hub said, if it said anything."""
    from huggingface_hub import errors

    login = "log in with `hf auth login`"
    answers: dict[type[Exception], str] = {
        errors.HFValidationError: "that is no name of a repository; it must be owner/name",
        errors.GatedRepoError: f"access must be granted on the page of {model}; then {login}",
        errors.RevisionNotFoundError: f"the repository has no revision {revision or 'main'!r};"
        " leave --revision out",
        errors.RepositoryNotFoundError: "the hub has no such repository, or it is private;"
        f" check the name, or {login}",
    }
    return next((answer for kind, answer in answers.items() if isinstance(error, kind)), None)
