"""Pack: `python -m training.pack RECIPE... --data DATA --spacing Z Y X --out PACK`. A data set made ready to travel.

A pack holds volumes at one spacing in parts of at most 20 MB, an index, and each recipe as JSON; training on it needs
torch and numpy alone. HU are kept from -512 to 508 in steps of 4, one byte a voxel. Volumes are unpacked when they are
drawn, so that a data set need not fit into memory. Arrays (z, y, x), lengths mm.
"""

import argparse
import io
import json
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.recipe import Recipe, Spacing, Stage, load_recipe, save_recipe
from training.volumes import DataError, Volume

INDEX = "index.json"
PART_BYTES = 20_000_000
LOW, HIGH, STEP = -512, 508, 4  # HU


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a volume lies in the pack, and what sampling must know before it is read."""

    name: str
    patient: str
    part: str
    start: int
    length: int
    extent: Spacing
    organ_free: tuple[tuple[float, float], ...]


class Packed:
    """Some of a pack's volumes."""

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        self._folder, self._entries = folder, entries
        self.names = [entry.name for entry in entries]
        self.patients = [entry.patient for entry in entries]
        self.has_organ_free = [bool(entry.organ_free) for entry in entries]

    def __getitem__(self, index: int) -> Volume:
        entry = self._entries[index]
        path = self._folder / entry.part
        try:
            with path.open("rb") as file:
                file.seek(entry.start)
                arrays = np.load(io.BytesIO(zlib.decompress(file.read(entry.length))))
        except (OSError, zlib.error) as error:
            raise DataError(f"{path}: {entry.name} cannot be read: {error}; carry the pack over again") from error
        points = np.split(arrays["organ_points"], arrays["organ_points_ends"][:-1])
        return Volume(
            name=entry.name,
            patient=entry.patient,
            image=torch.from_numpy(to_hounsfield(arrays["image"])),
            labels=torch.from_numpy(arrays["labels"]),
            extent=entry.extent,
            organ_points=tuple(torch.from_numpy(part) for part in points),
            organ_free=entry.organ_free,
        )


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack's folder and index. shown, excluded: which slices and volumes are left out,
    as in the recipes it was made for."""

    folder: Path
    spacing_mm: Spacing
    shown: dict[str, list[str]]
    excluded: list[str]
    entries: tuple[Entry, ...]

    def volumes(self, recipe: Recipe, stage: Stage, fold: bool) -> Packed:
        """The fold's volumes, or those a stage trains on.

        DataError if there are none, or if the pack is not what the recipe asks for. Volumes may be finer than a stage
        wants them (they are averaged when they are read), not coarser.
        """
        if any(have > 1.01 * want for have, want in zip(self.spacing_mm, stage.spacing_mm, strict=True)):
            raise DataError(
                f"{self.folder}: packed at {self.spacing_mm} mm, stage {stage.name} wants {stage.spacing_mm}"
            )
        if recipe.intensity.low < LOW or recipe.intensity.high > HIGH:
            raise DataError(f"{self.folder}: HU from {LOW} to {HIGH} are kept, the recipe's intensity goes beyond")
        if recipe.data.without != self.shown:
            raise DataError(
                f"{self.folder}: packed with other slices left out than data of the recipe says; pack again"
            )
        data = recipe.data
        unknown = {*data.fold_patients} - {e.patient for e in self.entries}
        unknown |= {*data.exclude} - {e.name for e in self.entries} - {*self.excluded}
        if unknown:
            raise DataError(f"{self.folder}: has no {', '.join(sorted(unknown))}, which data of the recipe names")
        shown = [e for e in self.entries if e.name not in data.exclude]
        kept = [e for e in shown if stage.shows(e.patient, data, fold=fold)]
        if not kept:
            raise DataError(f"{self.folder}: no volume {'of the fold' if fold else 'to train on'} in this pack")
        return Packed(self.folder, kept)


def to_bytes(image: NDArray[np.int16]) -> NDArray[np.uint8]:
    """HU to one byte each, the nearest step.

    >>> to_bytes(np.array([-1024, -512, 0, 1, 3, 40, 2000], np.int16)).tolist()
    [0, 0, 128, 128, 129, 138, 255]
    """
    return np.asarray(np.round((image.astype(np.float32) - LOW) / STEP).clip(0, 255).astype(np.uint8))


def to_hounsfield(stored: NDArray[np.uint8]) -> NDArray[np.int16]:
    """What `to_bytes` kept.

    >>> to_hounsfield(np.array([0, 128, 138, 255], np.uint8)).tolist()
    [-512, 0, 40, 508]
    """
    return stored.astype(np.int16) * np.int16(STEP) + np.int16(LOW)


def write_pack(volumes: Iterable[Volume], recipes: Mapping[str, Recipe], spacing: Spacing, folder: Path) -> None:
    """Volumes, one after the other, into parts; the folder is there when all of it is.

    recipes: by the names that their files in the pack get; they agree in `data`.

    ValueError for a volume that alone is too large for a part.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        partial = Path(beside) / folder.name
        partial.mkdir()
        _write(volumes, recipes, spacing, partial)
        partial.rename(folder)


def _write(volumes: Iterable[Volume], recipes: Mapping[str, Recipe], spacing: Spacing, folder: Path) -> None:
    entries: list[dict[str, Any]] = []
    part, parts = bytearray(), 0
    for volume in volumes:
        content = _content(volume)
        if len(content) > PART_BYTES:
            size = f"{len(content) / 1e6:.0f} MB"
            raise ValueError(
                f"{volume.name}: {size} at {spacing} mm, a part holds 20; pack coarser, or data.exclude it"
            )
        if len(part) + len(content) > PART_BYTES:
            (folder / _part_name(parts)).write_bytes(part)
            part, parts = bytearray(), parts + 1
        place = {"part": _part_name(parts), "start": len(part), "length": len(content)}
        known = {"name": volume.name, "patient": volume.patient, "extent": volume.extent}
        entries.append({**known, **place, "organ_free": volume.organ_free})
        part += content
    (folder / _part_name(parts)).write_bytes(part)
    data = next(iter(recipes.values())).data
    index = {
        "spacing_mm": spacing,
        "shown": data.without,
        "excluded": data.exclude,
        "volumes": entries,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    for name, recipe in recipes.items():
        save_recipe(recipe, folder / f"{name}.json")


def _content(volume: Volume) -> bytes:
    points = [part.numpy() for part in volume.organ_points]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        image=to_bytes(volume.image.numpy()),
        labels=volume.labels.numpy(),
        organ_points=np.concatenate(points),
        organ_points_ends=np.cumsum([len(part) for part in points]),
    )
    return zlib.compress(buffer.getvalue(), 6)


def _part_name(number: int) -> str:
    return f"part-{number:04}.bin"


def is_pack(folder: Path) -> bool:
    """Whether `write_pack` made it."""
    return (folder / INDEX).exists()


def open_pack(folder: Path) -> Pack:
    """The pack in a folder."""
    table = json.loads((folder / INDEX).read_text())
    entries = []
    for entry in table["volumes"]:
        ranges = tuple((low, high) for low, high in entry["organ_free"])
        entries.append(Entry(**{**entry, "extent": tuple(entry["extent"]), "organ_free": ranges}))
    return Pack(folder, tuple(table["spacing_mm"]), table["shown"], table["excluded"], tuple(entries))


def main() -> None:
    """Parses the arguments, packs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="+", help="TOML; all must show the same slices of each scan")
    parser.add_argument("--data", type=Path, required=True, help="folder of scans and labels")
    parser.add_argument("--spacing", type=float, nargs=3, required=True, metavar=("Z", "Y", "X"), help="mm")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    # these need what app needs: SimpleITK, nibabel
    from app.errors import VisceraError
    from training.layout import find_cases
    from training.prepare import load_volumes, named_cases

    try:
        names = [path.stem for path in arguments.recipe]
        if len({*names, Path(INDEX).stem}) != len(names) + 1:
            raise ValueError(f"recipes in a pack need file names of their own, and not index: {', '.join(names)}")
        recipes = {path.stem: load_recipe(path) for path in arguments.recipe}
        first = recipes[names[0]]
        if any(recipe.data != first.data for recipe in recipes.values()):
            raise ValueError("these recipes differ in [data]; pack them apart")
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} is there already")
        if min(arguments.spacing) <= 0:
            raise ValueError(f"--spacing must be above zero, found {arguments.spacing}")
        spacing = (arguments.spacing[0], arguments.spacing[1], arguments.spacing[2])
        cases = named_cases(find_cases(arguments.data), first.data)
        write_pack(load_volumes(cases, spacing, first), recipes, spacing, arguments.out)
    except (VisceraError, ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.1f} MB in {len(list(arguments.out.iterdir()))} files")


if __name__ == "__main__":
    main()
