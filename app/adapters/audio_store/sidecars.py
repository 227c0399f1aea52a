"""Captions beside their audio: a hidden file of JSON that comes and goes with it.

It is put in place after its audio and removed before it, so it is never seen alone; what a crash
leaves alone is invisible, and swept.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from app.adapters.audio_store.files import ReadFile, TempFile, unlink
from app.adapters.audio_store.names import sidecar_of
from app.domain.captions import Caption
from app.domain.errors import StoredAudioNotFoundError, StoreError

_decoder: Final = msgspec.json.Decoder(tuple[Caption, ...])


def write(file: TempFile, captions: Sequence[Caption], created_at: datetime) -> None:
    """Write `captions` so that they survive a power cut; no file is made if there are none."""
    if captions:
        file.create()
        file.append(msgspec.json.encode(captions))
        file.seal(b"", created_at)


def put(file: TempFile, dir_fd: int, name: str) -> None:
    """Give audio that was just published its captions; nobody else may hold the name.

    What lies there already is of a file that is gone: a crash left it, and it must not pass for
    the captions of this one.
    """
    if file.is_created:
        os.rename(file.name, sidecar_of(name), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    else:
        unlink(dir_fd, sidecar_of(name))


def read(directory: Path, name: str) -> Sequence[Caption] | None:
    """The captions of audio; None if it has none."""
    file = ReadFile()
    try:
        file.open(directory, sidecar_of(name))
        return _decoder.decode(file.read_all())
    except StoredAudioNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError("The captions of a stored file are damaged.") from error
    finally:
        file.close()
