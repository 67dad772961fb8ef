"""Layout: where a data set's scans and labels lie. Two layouts are known, ours and nnU-Net's raw one.

Ours: `NAME_0000.nii.gz` beside `NAME.nii.gz`, and a table `volumes.tsv` in the folder or beside it that says which
patient a volume is of; a volume that it lacks is a patient. nnU-Net's: `imagesTr/NAME_0000.nii.gz`,
`labelsTr/NAME.nii.gz`, `dataset.json`.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError
from training.recipe import CHALLENGE_LABELS

SCAN_ENDING = "_0000.nii.gz"
ENDING = ".nii.gz"
TABLE = "volumes.tsv"


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """A scan and its label, which need not exist."""

    name: str
    patient: str
    scan: Path
    label: Path


def find_cases(folder: Path) -> list[CaseFiles]:
    """Every scan of a data set, by name. SetupError if there is none, or if its `dataset.json` means other labels."""
    nnunet = (folder / "imagesTr").is_dir()
    scans, labels = (folder / "imagesTr", folder / "labelsTr") if nnunet else (folder, folder)
    if nnunet and (folder / "dataset.json").exists():
        check_labels(folder / "dataset.json")
    names = [path.name.removesuffix(SCAN_ENDING) for path in sorted(scans.glob(f"*{SCAN_ENDING}"))]
    if nnunet:  # the challenge's release has scans without labels; in our layout a missing label is a mistake
        names = [name for name in names if (labels / f"{name}{ENDING}").exists()]
    if not names:
        raise SetupError(f"{scans}: no scans NAME{SCAN_ENDING} with a label here")
    table = next((path for path in (folder / TABLE, folder.parent / TABLE) if path.exists()), None)
    patients = patients_by_name(table) if table else {}
    return [
        CaseFiles(name, patients.get(name, name), scans / f"{name}{SCAN_ENDING}", labels / f"{name}{ENDING}")
        for name in names
    ]


def patients_by_name(table: Path) -> dict[str, str]:
    """Volume name to patient, from a tab-separated table with columns `name` and `patient`; SetupError without them."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except UnicodeDecodeError as error:
        raise SetupError(f"{table}: not UTF-8 text: {error}") from error
    patients: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name, patient = ((row.get(column) or "").strip() for column in ("name", "patient"))
        if not name or not patient or patients.get(name, patient) != patient:
            what = f"patients {patients[name]} and {patient}" if name in patients else "no name or no patient"
            raise SetupError(f"{table}: line {number}, {name or '?'}: {what}; columns name and patient, parted by tabs")
        patients[name] = patient
    return patients


def check_labels(path: Path) -> None:
    """SetupError unless `dataset.json` gives every organ the id it has here, and has one channel in `.nii.gz` files.

    Names may be spelled in other ways, and be other names, as long as none of ours has another id.
    """
    try:
        table = json.loads(path.read_text())
        found = {_plain(name): int(number) for name, number in table["labels"].items()}
        channels, ending = len(table.get("channel_names", {"0": "CT"})), table.get("file_ending", ENDING)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{path}: not a dataset.json of nnU-Net: {error!r}") from error
    wanted = {_plain(name): number for number, name in enumerate(CHALLENGE_LABELS)}
    moved = [name for name, number in found.items() if wanted.get(name, number) != number]
    sides = {2: "left", 13: "right", 7: "left", 8: "right"}  # "kidney_left" is none of our names, and must not be 2
    moved += [name for name, number in found.items() if number in sides and sides[number] in name]
    if moved or sorted(found.values()) != sorted(wanted.values()):
        raise SetupError(f"{path}: labels must have the ids {wanted}, found {found}")
    if channels != 1 or ending != ENDING:
        raise SetupError(f"{path}: one channel in {ENDING} files is read here, found {channels} in {ending}")


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
