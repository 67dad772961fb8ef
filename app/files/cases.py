"""Cases: which scans an input names, what their masks are called, and what a folder holds besides."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError
from app.files.foreign import DICOM, LOOKED_AT, kind_of
from app.files.write import is_replaceable

ENDINGS = (".nii.gz", ".nii")
MASK_ENDING = ".nii.gz"
CHANNEL = "_0000"  # the challenge's mark of a scan, not part of the case's name
OTHER_IMAGES = (".nrrd", ".mha", ".mhd", ".hdr", ".img")
MASK, DICOM_FILE, FOLDER = "mask beside its scan", "DICOM file", "folder"
PASSED_OVER = {MASK: "masks beside their scans", **dict(zip(OTHER_IMAGES, OTHER_IMAGES, strict=True))}
PASSED_OVER |= {DICOM_FILE: "DICOM files", FOLDER: "folders"}  # one of a kind, several of it; in this order


@dataclass(frozen=True, slots=True)
class Case:
    """A scan to do. clash: why it cannot be, if another input would have the same mask or it would overwrite one.

    label: why its mask cannot be written, if in its place lies a label of another's that was passed over.
    """

    name: str
    source: Path
    target: Path
    clash: str | None = None
    label: str | None = None


def find_cases(inputs: Path, outputs: Path) -> tuple[list[Case], Counter[str]]:
    """The scans in a folder (not in folders below it) or the one file, by name; `X_0000.nii.gz` gives `X.nii.gz`.

    Beside them how many of what the folder holds besides, as far as it could have been meant: see `passed_over`.
    `X.nii.gz` and `X.nii` beside `X_0000.nii.gz` are its masks and no scans. Hidden files do not count.
    outputs: the folder of the masks; of one file also the mask's own path, which ends in `.nii.gz` and is no folder.

    Raises SetupError if there is no scan, the folder cannot be read, or `outputs` is a path that no mask can have.
    """
    try:
        held = [inputs] if inputs.is_file() else sorted(path for path in inputs.iterdir() if path.name[0] != ".")
    except OSError as error:
        raise SetupError(
            f"{inputs}: cannot be read: {error.strerror}; give a folder of NIfTI files or one file"
        ) from error
    paths, masks = _without_masks([path for path in held if _is_scan(path)])
    kinds = [_kind(path, outputs) for path in held if not _is_scan(path)]
    others = Counter([MASK] * len(masks) + [kind for kind in kinds if kind is not None])
    if not paths:
        raise SetupError(f"{inputs}: {_nothing(inputs, others)}")
    folder, name = _place(inputs, outputs)
    targets = {path: folder / (name or mask_name(path)) for path in paths}
    users = defaultdict(list)
    for path, target in targets.items():
        users[target].append(path.name)
    sources = {identity(path) for path in paths}
    labels = {identity(path) for path in masks if not is_replaceable(path)}
    cases = [
        Case(
            case_name(path),
            path,
            target,
            _clash(path, target, users[target], sources),
            _label(path, target, labels),
        )
        for path, target in targets.items()
    ]
    return cases, others


def passed_over(others: Counter[str]) -> str:
    """A line of it.

    >>> passed_over(Counter({"mask beside its scan": 2, ".nrrd": 3, "folder": 1}))
    '2 masks beside their scans, 3 .nrrd, 1 folder'
    """
    return ", ".join(f"{n} {one if n == 1 else more}" for one, more in PASSED_OVER.items() if (n := others[one]))


def case_name(path: Path) -> str:
    """`X` of `X_0000.nii.gz`, `X.nii.gz` and `X.nii`."""
    ending = next(end for end in ENDINGS if path.name.lower().endswith(end))
    stem = path.name[: -len(ending)]
    return stem.removesuffix(CHANNEL) or stem


def mask_name(scan: Path) -> str:
    """What the organisers look for: `X_0000.nii.gz` gives `X.nii.gz`, and so do `X.nii.gz` and `X.nii`."""
    return f"{case_name(scan)}{MASK_ENDING}"


def _place(inputs: Path, outputs: Path) -> tuple[Path, str | None]:
    """The folder of the masks, and the name of the mask of one file where it is given."""
    if not outputs.name.lower().endswith(ENDINGS) or _is_folder(outputs):
        return outputs, None
    if inputs.is_dir():
        raise SetupError(f"{outputs}: names one mask, and {inputs} is a folder; name a folder for its masks")
    if not outputs.name.lower().endswith(MASK_ENDING):
        raise SetupError(f"{outputs}: a mask is compressed; name it {outputs.name}.gz")
    return outputs.parent, outputs.name


def _without_masks(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Scans, and the masks that lie beside them."""
    scans = {case_name(path) for path in paths if _has_channel(path)}
    kinds: dict[bool, list[Path]] = {True: [], False: []}
    for path in paths:
        kinds[_has_channel(path) or case_name(path) not in scans].append(path)
    return kinds[True], kinds[False]


def _has_channel(path: Path) -> bool:
    return path.name[len(case_name(path)) :].startswith(CHANNEL)


def _kind(path: Path, outputs: Path) -> str | None:
    """Of what is no scan; None of what nobody can have meant as one, and of the folder of the masks."""
    if _is_folder(path):
        return FOLDER if identity(path) != identity(outputs) else None
    ending = path.suffix.lower()
    if ending in OTHER_IMAGES:
        return ending
    return DICOM_FILE if ending == ".dcm" or _is_dicom(path) else None


def _is_dicom(path: Path) -> bool:
    """By content, of a file without an ending; a number behind a dot is the end of a UID."""
    if path.suffix and not path.suffix[1:].isdecimal():
        return False
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return kind_of(file.read(LOOKED_AT)) == DICOM
    except OSError:
        return False


def _nothing(inputs: Path, others: Counter[str]) -> str:
    """What to do where no scan is."""
    if others[DICOM_FILE]:
        return f"DICOM and no .nii or .nii.gz file; convert it first: dcm2niix -z y -f %i_%s -o FOLDER {inputs}"
    seen = f" (passed over: {passed_over(others)})" if others else ""
    advice = "put scans there, not into folders below it" if inputs.is_dir() else "give a scan, or a folder of them"
    return f"no .nii or .nii.gz file; {advice}{seen}"


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


def _label(path: Path, target: Path, labels: set[tuple[int, int] | None]) -> str | None:
    if (there := identity(target)) is not None and there in labels:
        return f"{path.name}: its mask would overwrite {target.name} beside it; choose another output folder"
    return None


def identity(path: Path) -> tuple[int, int] | None:
    """The same for two names of one file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
