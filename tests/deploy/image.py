"""The image of the Dockerfile without a container engine: its instructions, in a root file system.

A stand-in replaces the base image `python:3.11-slim-bookworm`: Debian 12 with its own Python 3.11,
which debootstrap installs from where apt does. A container is a process with namespaces of its own
for files, processes and network, without capabilities, and with a root that is read-only.
"""

import ctypes
import json
import os
import shlex
import shutil
import signal
import string
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tests.eventually import wait_until

ROOT: Final = Path(__file__).parents[2]
BASE: Final = ROOT / "build" / "deploy" / "base"  # kept: it takes two minutes
STAGES: Final = BASE.with_name("stages")  # of the last build
PACKAGES: Final = "python3,python3-venv,ca-certificates"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_TIMEOUT_S: Final = 900
TIMEOUT_S: Final = 120
CLONE_NEWNET: Final = 0x40000000  # sched.h

# What the slim images of Debian leave out, and what only the base image's maker needs.
NOT_IN_SLIM: Final = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt",
    "var/lib/apt/lists", "var/cache/debconf", "var/log",
)  # fmt: skip

# A build reaches the package registries as this machine does.
BUILD: Final = """
mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc"
mount --bind /etc/resolv.conf "$0/etc/resolv.conf" && mount --rbind /etc/ssl "$0/etc/ssl"
exec chroot "$0" env --ignore-environment "$@"
"""
RUN: Final = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$0/tmp" && mount --bind "$VOLUME" "$0$VOLUME_AT"
ip link set lo up
exec chroot "$0" "$@"
"""

# The field of Image for an instruction with a text, or with a command in its exec form.
TEXTS: Final = {
    "USER": "user", "VOLUME": "volume", "WORKDIR": "workdir", "STOPSIGNAL": "stop_signal",
}  # fmt: skip
COMMANDS: Final = {"ENTRYPOINT": "entrypoint", "CMD": "command", "HEALTHCHECK": "healthcheck"}


class Image(msgspec.Struct):
    """A root file system, and how a container of it is run."""

    root: Path
    env: dict[str, str]
    workdir: str = "/"
    user: str = "0:0"
    volume: str = ""
    stop_signal: str = ""
    healthcheck: list[str] = []
    entrypoint: list[str] = []
    command: list[str] = []

    def process(self, command: list[str], user: str) -> list[str]:
        """`command` in the root, as `user`, with the environment of the image and no capability."""
        uid, gid = user.split(":")
        variables = [f"{name}={value}" for name, value in self.env.items()]
        return [
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"),
            *("--inh-caps=-all", "--bounding-set=-all"),
            *("env", "--ignore-environment", f"--chdir={self.workdir}", *variables, *command),
        ]


def make_base() -> Path:
    """The stand-in for the base image."""
    if not BASE.exists():
        targets = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
        mirror = subprocess.run(targets, check=True, capture_output=True, text=True).stdout.split()[
            0
        ]
        made = BASE.with_name("base.part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        options = ["--variant=minbase", f"--include={PACKAGES}", "bookworm", str(made), mirror]
        subprocess.run(["debootstrap", *options], check=True, timeout=BUILD_TIMEOUT_S)
        for name in NOT_IN_SLIM:
            shutil.rmtree(made / name, ignore_errors=True)
        made.rename(BASE)
    return BASE


def build(dockerfile: Path, arguments: Mapping[str, str]) -> Image:
    """What the instructions of `dockerfile` make of the stand-in."""
    from dockerfile_parse import DockerfileParser

    stages: dict[str, Image] = {}
    image = Image(STAGES, {})
    shutil.rmtree(STAGES, ignore_errors=True)
    with dockerfile.open("rb+") as file:
        instructions = DockerfileParser(fileobj=file).structure
    for number, instruction in enumerate(instructions):
        name, value = instruction["instruction"], instruction["value"]
        if name == "FROM":
            image = Image(STAGES / str(number), {"PATH": PATH})
            copy(make_base(), image.root)
            stages[value.partition(" AS ")[2]] = image
        elif name == "COPY":
            copy_into(image, shlex.split(value), dockerfile.parent, stages)
        elif name == "RUN":
            step = ["/bin/sh", "-c", f"mkdir -p {image.workdir} && cd {image.workdir} && {value}"]
            subprocess.run(
                in_namespaces(
                    BUILD, image.root, ["HOME=/root", *variables_of(image, arguments), *step]
                ),
                check=True,
                timeout=BUILD_TIMEOUT_S,
            )
        elif name != "COMMENT":
            configure(image, name, value)
    return image


def variables_of(image: Image, arguments: Mapping[str, str]) -> list[str]:
    """Of a step of the build: of the image, its arguments, and how to reach package registries."""
    own = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    return [f"{name}={value}" for name, value in {**own, **image.env, **arguments}.items()]


def configure(image: Image, name: str, value: str) -> None:
    """Note an instruction that runs nothing; raises KeyError for one that is not known here."""
    if name == "ENV":
        for item in shlex.split(string.Template(value).safe_substitute(image.env)):
            variable, _, content = item.partition("=")
            image.env[variable] = content
    elif name in TEXTS:
        setattr(image, TEXTS[name], value)
    elif name not in {"ARG", "EXPOSE"}:
        setattr(image, COMMANDS[name], json.loads(value[value.index("[") :]))


def copy_into(image: Image, words: list[str], context: Path, stages: Mapping[str, Image]) -> None:
    """COPY: files and folders of the context or of another stage."""
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    else:
        source = context
    *names, target = words
    place = image.root / os.path.join(image.workdir, target).lstrip("/")  # noqa: PTH118
    for name in names:
        copied = source / name.lstrip("/")
        copy(copied, place / copied.name if target.endswith("/") else place)


def copy(source: Path, target: Path) -> None:
    """As `cp` does it, over what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "-T", "--reflink=auto", source, target], check=True)


def in_namespaces(script: str, root: Path, command: list[str], *more: str) -> list[str]:
    """A shell script as the first process, whose mounts are its own."""
    shell = ["sh", "-e", "-c", script, str(root), *command]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *more, *shell]


def weigh(root: Path) -> int:
    """Bytes of all files below `root`; of links to one file once."""
    files = {}
    for directory, _, names in os.walk(root):
        for name in names:
            state = os.lstat(os.path.join(directory, name))  # noqa: PTH118 - of 20,000 files
            files[state.st_ino] = state.st_size
    return sum(files.values())


class Container:
    """A running container."""

    def __init__(self, image: Image, user: str, process: subprocess.Popen[bytes]) -> None:
        self._image, self._user, self._process = image, user, process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: children.read_text().strip() != "")
        self._pid = int(children.read_text())
        self._network = ThreadPoolExecutor(1, initializer=self._enter_network)

    def _enter_network(self) -> None:
        """Move this thread, and with it the sockets that it opens, into the container's network."""
        with Path(f"/proc/{self._pid}/ns/net").open() as network:
            assert ctypes.CDLL(None).setns(network.fileno(), CLONE_NEWNET) == 0

    def call(self, function: Callable[[], httpx.Response]) -> httpx.Response:
        """The result of `function`, for which 127.0.0.1 is the container."""
        return self._network.submit(function).result(timeout=TIMEOUT_S)

    def execute(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run `command` in the container, as its user."""
        spaces = [f"--target={self._pid}", "--mount", "--net", "--pid", "--root", "--wd"]
        inner = self._image.process(list(command), self._user)
        return subprocess.run(
            ["nsenter", *spaces, *inner], capture_output=True, check=False, timeout=TIMEOUT_S
        )

    def stop(self) -> int:
        """The exit code, after the stop signal of the image."""
        os.kill(self._pid, signal.Signals[self._image.stop_signal])
        return self._process.wait(TIMEOUT_S)


@contextmanager
def container(
    image: Image, directory: Path, *command: str, user: str = "", entrypoint: str = ""
) -> Iterator[Container]:
    """Run the image with a volume of its own; what it logs is in `directory / "log"`.

    Args:
        image: that is run.
        directory: of the log and the volume.
        command: in place of the image's own.
        user: in place of the image's own, as "uid:gid".
        entrypoint: in place of the image's own.
    """
    volume = directory / "volume"
    copy(image.root / image.volume.lstrip("/"), volume)
    main = [entrypoint] if entrypoint else image.entrypoint
    inner = image.process([*main, *(command or image.command)], user or image.user)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            in_namespaces(RUN, image.root, inner, "--net"),
            stdout=log,
            stderr=log,
            env={"PATH": PATH, "VOLUME": str(volume), "VOLUME_AT": image.volume},
        )
    try:
        yield Container(image, user or image.user, process)
    finally:
        process.kill()  # and with it all that is in the container
        process.wait()
