"""Containers: an image from an archive or by name, and one case run in a fresh container, as the organisers do it."""

import contextlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import requests

from app.errors import SetupError
from evaluation.cgroup import find_cgroup
from evaluation.measure import Probe, Run, Usage, measure
from evaluation.protocol import CONTAINER_COMMAND, INPUTS, OUTPUTS

ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException)
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

    def image(self, name: str) -> Image:
        """`name` is an archive, which is loaded, or the name of an image that the engine has. SetupError: neither."""
        archive = Path(name)
        if archive.is_file():
            return self._loaded(archive)
        try:
            self._client.images.get(name)
        except ENGINE_ERRORS as error:
            raise SetupError(f"{name}: no such file and no image of that name here ({_line(error)})") from error
        repository = name.rpartition("@")[0] or name
        team = re.sub(r":[^/:]*$", "", repository).rpartition("/")[2]
        return Image(name if ":" in name.rpartition("/")[2] else f"{name}:latest", team)

    def _loaded(self, archive: Path) -> Image:
        team = archive.name.split(".")[0].lower()
        try:
            with archive.open("rb") as file:
                images = self._client.images.load(file)
        except (OSError, *ENGINE_ERRORS) as error:
            raise SetupError(f"{archive}: the engine cannot load it ({_line(error)})") from error
        tags = [tag for image in images for tag in image.tags]
        if f"{team}:latest" not in tags:
            raise SetupError(
                f"{archive}: holds {', '.join(tags) or 'no tag'}, but the organisers run {team}:latest, as the file is "
                f"called; save it as docker save {team}:latest -o {team}.tar.gz"
            )
        return Image(f"{team}:latest", team)

    def kill(self, container: str) -> None:
        """Ends a container, if it is still there."""
        with contextlib.suppress(*ENGINE_ERRORS):
            self._client.api.kill(container)

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


def run_case(
    engine: Engine,
    image: Image,
    scan: Path,
    workspace: Path,
    *,
    memory: str,
    network: bool = False,
    cpus: str | None = None,
    limit: float | None = None,
) -> ContainerRun:
    """One scan in an empty `inputs`, an empty `outputs` that anybody may write to, one fresh container.

    workspace: a folder for them and for `log.txt`; what an earlier case left in it is removed.
    The command is the organisers', with --network none (unless `network`), --cpuset-cpus where `cpus` says which, and
    with a file for the container's id, by which its cgroup is found.
    """
    inputs, outputs, identity = (workspace / name for name in ("inputs", "outputs", "id"))
    for folder in (inputs, outputs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    outputs.chmod(0o777)
    identity.unlink(missing_ok=True)
    shutil.copy(scan, inputs / scan.name)
    command = ["docker", "container", "run", "-m", memory, "--name", image.team, "--rm", "--cidfile", str(identity)]
    command += [] if network else ["--network", "none"]
    command += ["--cpuset-cpus", cpus] if cpus else []
    command += [
        "-v",
        f"{inputs.resolve()}/:{INPUTS}",
        "-v",
        f"{outputs.resolve()}/:{OUTPUTS}",
        image.name,
        *CONTAINER_COMMAND,
    ]
    probe = _ContainerProbe(engine, identity)
    since = time.time()
    run = measure(command, lambda _: probe, lambda _: _kill(engine, identity), workspace / "log.txt", limit=limit)
    container = _read(identity)
    return ContainerRun(run, probe.source, bool(container) and engine.ran_out_of_memory(container, since))


class _ContainerProbe:
    """Waits for the container, then reads its cgroup, or asks the engine where that is hidden."""

    def __init__(self, engine: Engine, identity: Path) -> None:
        self._engine = engine
        self._identity = identity
        self._read: Callable[[], Usage | None] | None = None
        self.source = CGROUP

    def __call__(self) -> Usage | None:
        if self._read is None:
            self._read = self._find()
        return None if self._read is None else self._read()

    def _find(self) -> Probe | None:
        container = _read(self._identity)
        if not container:
            return None
        if (cgroup := find_cgroup(container)) is not None:
            return cgroup.usage
        usage = self._engine.usage(container)
        if usage is None or not usage.cpu_seconds:  # created, but not running yet
            return None
        if (cgroup := find_cgroup(container)) is not None:  # it began to run between the two questions
            return cgroup.usage
        self.source = ENGINE
        return lambda: self._engine.usage(container)


def _kill(engine: Engine, identity: Path) -> None:
    if container := _read(identity):
        engine.kill(container)


def _read(identity: Path) -> str:
    return identity.read_text() if identity.exists() else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
