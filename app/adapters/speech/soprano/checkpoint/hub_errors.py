"""What can go wrong at the Hugging Face hub, each in one line that says what to do."""

import errno
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def how_to_pull(model: str, revision: str | None) -> str:
    """The command that fetches a repository."""
    chosen = f" --revision {revision}" if revision else ""
    return f"`soprano-api models pull {model}{chosen}`"


def explain_failure(error: BaseException, model: str, revision: str | None) -> str:
    """Why a repository could not be fetched, and what to do; no full stop at the end."""
    again = f"then try {how_to_pull(model, revision)}, or name a directory that has the files"
    return (
        _explain_disk(error, again)
        or _explain_answer(error, model, revision)
        or _explain_connection(error, again)
    )


def _explain_disk(error: BaseException, again: str) -> str | None:
    number = getattr(error, "errno", None)
    if number in _FULL or "No space left" in str(error):
        return f"the disk of the hub's cache is full; make room (HF_HUB_CACHE moves it), {again}"
    if isinstance(error, OSError) and error.filename is not None:  # those of sockets have none
        return (
            f"the hub's cache cannot be used ({error.filename}: {error.strerror}); mend that"
            f" (HF_HUB_CACHE moves it), {again}"
        )
    return None


def _explain_answer(error: BaseException, model: str, revision: str | None) -> str | None:
    """What the hub said, if it said anything."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return "that is no name of a repository; it must be owner/name"
    if isinstance(error, errors.GatedRepoError):
        return f"access must be granted on the page of {model}; then log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {revision or 'main'!r}; leave --revision out"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "the hub has no such repository, or it is private; check the name, or log in with"
            " `hf auth login`"
        )
    return None


def _explain_connection(error: BaseException, again: str) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    reasons = list(_causes(error))
    if any(isinstance(reason, OfflineModeIsEnabled) for reason in reasons):
        return f"HF_HUB_OFFLINE forbids to ask the hub; unset it, {again}"
    for reason in reasons:
        status = getattr(getattr(reason, "response", None), "status_code", None)
        if status is not None:
            return f"the hub answered with status {status}; wait, {again}"
    return (
        f"the hub cannot be reached ({type(reasons[-1]).__name__}); check the connection, {again}"
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, in turn."""
    reasons = [error]
    while (cause := reasons[-1].__cause__) is not None and cause not in reasons:
        reasons.append(cause)
    return reasons
