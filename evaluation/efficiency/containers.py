"""Containers: an image from an archive or by name, and a fresh container of it, run as the organisers do."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import requests

from app.errors import SetupError
from evaluation.efficiency.archives import check_tags
from evaluation.efficiency.cgroup import find_cgroup
from evaluation.efficiency.machine import HELD_TO
from evaluation.efficiency.measure import Probe, Run, Usage, measure
from evaluation.shared.protocol import CONTAINER_COMMAND, INPUTS, OUTPUTS

ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, ValueError)
DOCKER_FAILED = 125  # exit status of the client where the engine could not start a container
LOOKS_FOR_A_CGROUP = 10  # a second; asking the engine any sooner holds up the first sample until the container runs
CGROUP, ENGINE = "cgroup of the container", "statistics of the engine"


@dataclass(frozen=True, slots=True)
class Image:
    """name: with its tag. team: the organisers' name of the submission, which their container gets."""

    name: str
    team: str


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A measured container. source: where the samples come from. out_of_memory: the kernel ended a process of it."""

    run: Run
    source: str
    out_of_memory: bool


class Engine:
    """The one that DOCKER_HOST names; a context, so that its connection is closed. SetupError where none answers."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env()
            self._client.ping()
        except ENGINE_ERRORS as error:
            raise SetupError(
                f"no Docker engine answers ({_line(error)}); set DOCKER_HOST, or measure with --local"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def version(self) -> str:
        """Of the engine."""
        return str(self._client.version()["Version"])

    def identity(self, image: Image) -> str:
        """Its short id."""
        return str(self._client.images.get(image.name).short_id)

    def image(self, name: str) -> Image:
        """`name` is an archive, which is loaded, or the name of an image that the engine has. SetupError: neither."""
        archive = Path(name)
        if archive.is_file():
            return self._loaded(archive)
        try:
            tags = self._client.images.get(name).tags
        except ENGINE_ERRORS as error:
            raise SetupError(f"{name}: no such file and no image of that name here ({_line(error)})") from error
        tagged = f"{name}:latest" if f"{name}:latest" in tags else name
        team = re.sub(r"(@.*|:[^/:]*)$", "", tagged).rpartition("/")[2]
        return Image(tagged, re.sub(r"[^a-zA-Z0-9_.-]", "-", team))

    def _loaded(self, archive: Path) -> Image:
        team = archive.name.split(".")[0].lower()
        try:
            with archive.open("rb") as file:
                check_tags(archive, file, f"{team}:latest")  # loading replaces the images of whatever tags it holds
                file.seek(0)
                said = "".join(
                    line.get("stream", "") + line.get("error", "") for line in self._client.api.load_image(file)
                )
        except (OSError, *ENGINE_ERRORS) as error:
            raise SetupError(f"{archive}: the engine cannot load it ({_line(error)})") from error
        if f"{team}:latest" not in re.findall(r"Loaded image: (\S+)", said):
            raise SetupError(f"{archive}: the engine has not loaded {team}:latest ({' '.join(said.split())})")
        return Image(f"{team}:latest", team)

    def remove(self, container: str) -> bool:
        """Ends a container, whether it runs already or not; whether the engine did so."""
        try:
            self._client.api.remove_container(container, force=True)
        except ENGINE_ERRORS:
            return False
        return True

    def usage(self, container: str) -> Usage | None:
        """As the engine tells it, for containers whose cgroup cannot be seen; None once it is gone."""
        try:
            statistics: dict[str, Any] = self._client.api.stats(container, stream=False, one_shot=True)
            memory = statistics["memory_stats"]["stats"]
            used = statistics["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        except (*ENGINE_ERRORS, KeyError):
            return None
        # version 2 tells anon, shmem and file; of version 1 the engine passes on rss and cache, shared in the latter
        shared = memory.get("shmem", 0)
        return Usage(
            used, memory.get("anon", memory.get("rss", 0)), shared, memory.get("file", memory.get("cache", 0)) - shared
        )

    def ran_out_of_memory(self, container: str, since: float) -> bool:
        """Whether the kernel ended any of its processes for want of memory. since: seconds of the epoch."""
        until = time.time()
        with contextlib.suppress(*ENGINE_ERRORS):
            filters = {"container": container, "event": "oom"}
            return bool(list(self._client.events(since=since, until=until, filters=filters, decode=True)))
        return False


def run_container(
    engine: Engine,
    image: Image,
    inputs: Path,
    outputs: Path,
    log: Path,
    *,
    memory: str,
    network: bool = False,
    cpus: str | None = None,
    limit: float | None = None,
) -> ContainerRun:
    """One fresh container on what lies in `inputs`; what it prints goes into `log`.

    The command is the organisers', with --network none (unless `network`), --cpuset-cpus where `cpus` says which, the
    instructions that it is held to, if the environment says so (`machine.HELD_TO`), and with a file for the container's
    id beside the log, by which its cgroup is found.
    """
    identity = log.with_name("container")
    command = ["docker", "container", "run", "-m", memory, "--name", image.team, "--rm", "--cidfile", str(identity)]
    command += [] if network else ["--network", "none"]
    command += ["--cpuset-cpus", cpus] if cpus else []
    command += ["-e", HELD_TO] if HELD_TO in os.environ else []
    command += ["-v", f"{inputs.resolve()}/:{INPUTS}", "-v", f"{outputs.resolve()}/:{OUTPUTS}"]
    command += [image.name, *CONTAINER_COMMAND]
    probe = _ContainerProbe(engine, identity)
    since = time.time()
    run = measure(command, lambda _: probe, lambda client: _kill(engine, identity, client), log, limit=limit)
    container = _identity(identity)
    return ContainerRun(run, probe.source, bool(container) and engine.ran_out_of_memory(container, since))


class _ContainerProbe:
    """Waits for the container, then reads its cgroup, or asks the engine where that is hidden."""

    def __init__(self, engine: Engine, identity: Path) -> None:
        self._engine = engine
        self._file = identity
        self._read: Callable[[], Usage | None] | None = None
        self._looks = 0
        self.source = CGROUP

    def __call__(self) -> Usage | None:
        if self._read is None:
            self._read = self._find()
        return None if self._read is None else self._read()

    def _find(self) -> Probe | None:
        container = _identity(self._file)
        if not container:
            return None
        if (cgroup := find_cgroup(container)) is not None:
            return cgroup.usage
        self._looks += 1
        if self._looks < LOOKS_FOR_A_CGROUP:
            return None
        self.source = ENGINE
        return lambda: self._engine.usage(container)


def _kill(engine: Engine, identity: Path, client: int) -> None:
    """Ends the container; the engine's client too where there is none yet, or where the engine does not do it."""
    container = _identity(identity)
    if not container or not engine.remove(container):
        with contextlib.suppress(ProcessLookupError):
            os.kill(client, signal.SIGKILL)


def _identity(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
