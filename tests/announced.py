"""What a network hears of a server: `unshare --net python -m tests.announced LOG`.

Prints, in JSON, the addresses and the port that were announced, and whether this was withdrawn when
the server ended. It needs a network of its own, in which the loopback device is made to have an
address like others.
"""

import asyncio
import fcntl
import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from tests.serving import clean_environment

ADDRESS: Final = "10.1.2.3"
KIND: Final = "_wyoming._tcp.local."
PORT: Final = 10_200  # all are free in a new network
LIMIT_S: Final = 30

# requests of netdevice(7), and flags
SET_ADDRESS, SET_FLAGS = 0x8916, 0x8914
UP_LOOPBACK_RUNNING_MULTICAST: Final = 0x1 | 0x8 | 0x40 | 0x1000


def make_network() -> None:
    """Give this namespace a device that others could listen to."""
    address = socket.inet_aton(ADDRESS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, address)
        fcntl.ioctl(any_socket, SET_ADDRESS, request)
        request = struct.pack("16sH14x", b"lo", UP_LOOPBACK_RUNNING_MULTICAST)
        fcntl.ioctl(any_socket, SET_FLAGS, request)


async def listen(log_path: Path) -> dict[str, Any]:
    """Run a server, and hear its beginning and end."""
    heard: asyncio.Queue[tuple[ServiceStateChange, str]] = asyncio.Queue()

    def on_change(state_change: ServiceStateChange, name: str, **_: object) -> None:
        heard.put_nowait((state_change, name))

    network = AsyncZeroconf()
    AsyncServiceBrowser(network.zeroconf, KIND, handlers=[on_change])
    arguments = ["--backend", "embedded", "--wyoming-port", str(PORT), "--host", ADDRESS]
    with log_path.open("w") as log:
        server = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "app", "serve", *arguments],
            stderr=log,
            env=clean_environment(),
        )
    async with asyncio.timeout(LIMIT_S):
        change, name = await heard.get()
        assert change is ServiceStateChange.Added
        info = await network.async_get_service_info(KIND, name)
        assert info is not None
        server.terminate()
        change, gone = await heard.get()
        assert await server.wait() == 0
    await network.async_close()
    return {
        "addresses": info.parsed_addresses(),
        "port": info.port,
        "is_withdrawn": change is ServiceStateChange.Removed and gone == name,
    }


if __name__ == "__main__":
    make_network()
    print(json.dumps(asyncio.run(listen(Path(sys.argv[1])))))
