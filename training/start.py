"""Start: the weights that a run begins with, another run's or a bundle's, and what these have seen."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.recipe import Intensity
from training.run_files import AVERAGED, read_past, read_saved

BUNDLE = "bundle.json"  # as `app.models.bundle` has it


@dataclass(frozen=True, slots=True)
class Start:
    """name: as `start_name`. weights: by name, float32. history: see `training.run_files`. intensity: of the input."""

    name: str
    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    intensity: Intensity


@dataclass(frozen=True, slots=True)
class _Stage:
    run: str
    name: str
    steps: int


@dataclass(frozen=True, slots=True)
class _Training:
    """What `training.export` writes into a bundle."""

    recipe: str
    stages: tuple[_Stage, ...]
    minutes: float
    started_from: str
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    without_slices_above_the_labels: tuple[str, ...]
    without_slices_below_the_labels: tuple[str, ...]
    reference_masks: str
    patch: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not self.stages or self.minutes < 0:
            raise ValueError("needs a stage at least, and minutes of zero or more")


def start_name(path: Path) -> str:
    """What a run remembers of the weights that it began with: folder and file."""
    path = path.resolve()
    return f"{path.parent.name}/{path.name}"


def read_start(path: Path, role: str) -> Start:
    """Of `averaged.pt` in a run's folder, or of the folder of a bundle of this role, whose weights are float16.

    ValueError, FileNotFoundError or app's SetupError name the file that is missing, damaged or something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there; name a bundle's folder or a run's {AVERAGED}")
    path = path.resolve()
    if path.is_dir() and (path / AVERAGED).exists() and not (path / BUNDLE).exists():
        raise ValueError(f"{path}: is a run; name {path / AVERAGED}")
    if path.is_dir():
        return _of_bundle(path, role)
    if (path.parent / BUNDLE).exists():
        raise ValueError(f"{path}: belongs to a bundle; name its folder, {path.parent}")
    past = read_past(path.parent)
    try:
        intensity = Intensity(**past["recipe"]["intensity"])
    except (LookupError, TypeError) as error:
        raise ValueError(f"{path}: the run's recipe says its intensity in another way; of another version") from error
    return Start(start_name(path), _checked(read_saved(path), path), past["history"], intensity)


def _of_bundle(folder: Path, role: str) -> Start:
    """A bundle says what it has seen in all, not in which of its stages: each is said to have seen everything."""
    # here, because beside a pack there may be torch and numpy alone
    from app.models.bundle import TORCHSCRIPT, load_bundle
    from app.schema import parse

    bundle = load_bundle(folder)
    if bundle.role != role:
        raise ValueError(f"{folder / BUNDLE}: field role is {bundle.role!r}, the recipe is of a {role!r}")
    if TORCHSCRIPT not in bundle.files:
        raise ValueError(f"{folder}: has no TorchScript, whose weights have names; start from a run's {AVERAGED}")
    past = parse(_Training, bundle.training, folder / BUNDLE, "training")
    shown = {
        "scans": [*past.scans],
        "patients": [*past.patients],
        "without_above": [*past.without_slices_above_the_labels],
        "without_below": [*past.without_slices_below_the_labels],
        "reference_masks": past.reference_masks,
    }
    seconds = 60 * past.minutes / len(past.stages)
    history = [{"run": s.run, "name": s.name, "steps": s.steps, "seconds": seconds, **shown} for s in past.stages]
    (file,) = bundle.engine_files(TORCHSCRIPT)
    try:
        state = torch.jit.load(str(file), map_location="cpu").state_dict()
    except RuntimeError as error:
        raise ValueError(f"{file}: cannot be loaded as TorchScript; export the bundle again") from error
    return Start(start_name(folder), _checked(state, file), history, Intensity(**asdict(bundle.fixed_intensity)))


def _checked(state: Any, path: Path) -> dict[str, Tensor]:
    """Weights by name in float32. ValueError for anything else, and for numbers that are not finite."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: holds no weights by name; name a run's {AVERAGED} or a bundle's folder")
    # a norm counts its batches in a whole number
    known = [value.is_floating_point() or value.dim() == 0 for value in state.values()]
    if not all(known) or not all(bool(value.isfinite().all()) for value in state.values()):
        raise ValueError(f"{path}: some of its weights are not finite numbers; start from others")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
