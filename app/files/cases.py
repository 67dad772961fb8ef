"""Cases: which scans an input names, and what their masks are called."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError

ENDINGS = (".nii.gz", ".nii")
CHANNEL = "_0000"  # the challenge's mark of a scan, not part of the case's name


@dataclass(frozen=True, slots=True)
class Case:
    """A scan to do. clash: why it cannot be, if another input would have the same mask or it would overwrite one."""

    name: str
    source: Path
    target: Path
    clash: str | None = None


def find_cases(inputs: Path, outputs: Path) -> list[Case]:
    """The scans in a folder (not in folders below it) or the one file, by name; `X_0000.nii.gz` gives `X.nii.gz`.

    Raises SetupError if there is none or the folder cannot be read.
    """
    try:
        paths = [inputs] if inputs.is_file() else sorted(path for path in inputs.iterdir() if _is_scan(path))
    except OSError as error:
        raise SetupError(
            f"{inputs}: cannot be read: {error.strerror}; give a folder of NIfTI files or one file"
        ) from error
    if not paths or not _is_scan(paths[0]):
        advice = "put scans there, not into folders below it" if inputs.is_dir() else "give a scan, or a folder of them"
        raise SetupError(f"{inputs}: no .nii or .nii.gz file; {advice}")
    targets = {path: outputs / mask_name(path) for path in paths}
    users = defaultdict(list)
    for path, target in targets.items():
        users[target].append(path.name)
    sources = {identity(path) for path in paths}
    return [
        Case(case_name(path), path, target, _clash(path, target, users[target], sources))
        for path, target in targets.items()
    ]


def case_name(path: Path) -> str:
    """`X` of `X_0000.nii.gz`, `X.nii.gz` and `X.nii`."""
    ending = next(end for end in ENDINGS if path.name.lower().endswith(end))
    stem = path.name[: -len(ending)]
    return stem.removesuffix(CHANNEL) or stem


def mask_name(scan: Path) -> str:
    """What the organisers look for: `X_0000.nii.gz` gives `X.nii.gz`, and so do `X.nii.gz` and `X.nii`."""
    return f"{case_name(scan)}.nii.gz"


def _is_scan(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and not _is_folder(path)


def _is_folder(path: Path) -> bool:
    """A link to where this user may not look counts as a file: reading it gives the case its line."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _clash(path: Path, target: Path, users: list[str], sources: set[tuple[int, int] | None]) -> str | None:
    if len(users) > 1:
        others = ", ".join(name for name in users if name != path.name)
        return f"{path.name}: {others} would have the same mask {target.name}; rename one"
    if (there := identity(target)) is not None and there in sources:
        return f"{path.name}: its mask {target.name} would overwrite an input; choose another output folder"
    return None


def identity(path: Path) -> tuple[int, int] | None:
    """The same for two names of one file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
