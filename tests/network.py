"""A network of its own, for what would otherwise listen on that of the machine."""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

ADDRESS: Final = "10.1.2.3"
CLONE_NEWNET: Final = 0x4000_0000  # unshare(2)

# requests of netdevice(7), and flags
SET_ADDRESS, SET_FLAGS = 0x8916, 0x8914
UP_LOOPBACK_RUNNING_MULTICAST: Final = 0x1 | 0x8 | 0x40 | 0x1000

_libc = ctypes.CDLL(None, use_errno=True)


def enter_network() -> None:
    """Go on, with the threads and processes to come, where only the loopback device is.

    It gets an address like others have. Raises OSError if this user may not.
    """
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network of its own cannot be had")
    address = socket.inet_aton(ADDRESS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, address)
        fcntl.ioctl(any_socket, SET_ADDRESS, request)
        request = struct.pack("16sH14x", b"lo", UP_LOOPBACK_RUNNING_MULTICAST)
        fcntl.ioctl(any_socket, SET_FLAGS, request)


@contextmanager
def own_network() -> Iterator[None]:
    """The same, for a block of a test; skips it if this user may not."""
    before = os.open(f"/proc/self/task/{_libc.gettid()}/ns/net", os.O_RDONLY)
    try:
        try:
            enter_network()
        except OSError as error:
            pytest.skip(str(error))
        yield
    finally:
        _libc.setns(before, CLONE_NEWNET)
        os.close(before)
