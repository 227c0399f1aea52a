"""What crashes leave behind, and when it may be removed."""

import errno
import os
import re
from contextlib import suppress
from datetime import datetime
from typing import Final

from app.adapters.audio_store.files import lstat_regular, unlink
from app.adapters.audio_store.names import audio_of

TEMP_MAX_AGE_S: Final = 3600.0
"""A temporary file not written to for so long has no writer any more; captions that have had no
audio for so long will have none."""

ORPHAN_MAX_AGE_S: Final = 60.0
"""The same where the writer's process is gone. Not zero: in another container of the same volume a
living process has a number that looks dead from here."""

_TEMP_NAME: Final = re.compile(r"\.tmp-(?P<pid>[1-9][0-9]{0,6})-[0-9a-f]{16}")


def sweep(dir_fd: int, now: datetime) -> None:
    """Remove what no writer will finish, and captions whose audio is gone."""
    for name in os.listdir(dir_fd):
        if _is_abandoned(dir_fd, name, now) or _is_alone(dir_fd, name, now):
            # In a directory shared with other users theirs are theirs to remove.
            with suppress(PermissionError):
                unlink(dir_fd, name)


def _is_abandoned(dir_fd: int, name: str, now: datetime) -> bool:
    match = _TEMP_NAME.fullmatch(name)
    age_s = _age_s(dir_fd, name, now) if match else None
    if match is None or age_s is None or age_s <= ORPHAN_MAX_AGE_S:
        return False
    return age_s > TEMP_MAX_AGE_S or not _is_running(int(match["pid"]))


def _is_alone(dir_fd: int, name: str, now: datetime) -> bool:
    audio = audio_of(name)
    if audio is None or lstat_regular(dir_fd, audio) is not None:
        return False
    age_s = _age_s(dir_fd, name, now)
    return age_s is not None and age_s > TEMP_MAX_AGE_S


def _age_s(dir_fd: int, name: str, now: datetime) -> float | None:
    """Seconds since the last change; None for what is not, or no longer, a regular file."""
    status = lstat_regular(dir_fd, name)
    return None if status is None else now.timestamp() - status.st_mtime


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
