"""Archive: where a trained model's files lie: an exported zip, a trainer's folder, one of its folds, or a data set's
results.

Of a zip only what is needed is unpacked, into a temporary folder, after all its names and sizes have been looked at.
"""

import lzma
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.errors import SetupError
from training.nnunet.checkpoint import MOST_BYTES
from training.nnunet.tables import listed, shown

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")  # the first that is there
FOLD = re.compile(r"fold_(\d{1,3}|all)")
DRIVE = re.compile("[A-Za-z]:")  # on Windows
MOST_NAME = 1000  # letters
ODD_NAME = f"a name with a backslash, with what cannot be printed, or of more than {MOST_NAME} letters"
MOST_ENTRIES = 20_000
MOST_RATIO, SMALL = 200, 1 << 20  # of declared to packed bytes, of what is larger than a MB
COPIED_AT_ONCE = 1 << 20
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Trained:
    """folder: of one trainer and configuration, with plans.json and dataset.json. folds: `0` to `4`, or `all`, and the
    checkpoint of each. without: folds that are there and have none."""

    folder: Path
    folds: dict[str, Path]
    without: tuple[str, ...] = ()


@contextmanager
def opened(model: Path, configuration: str | None, fold: str | None) -> Iterator[Trained]:
    """The files of a model; what is unpacked is there as long as the block runs.

    configuration: which, where there are several. fold: which; all that are numbered where it is None. SetupError says
    what is wrong with the model, and what there is to choose from.
    """
    if model.is_dir():
        yield _in_folder(model, configuration, fold)
        return
    if not model.is_file() or not zipfile.is_zipfile(model):
        what = "is neither a folder nor a zip" if model.exists() else "is not there"
        raise SetupError(f"{model}: {what}; give what nnUNetv2_export_model_to_zip wrote, or a trained model's folder")
    with tempfile.TemporaryDirectory(prefix="nnunet-") as folder:
        yield _trained(_unpacked(model, Path(folder), configuration), fold, model)


def _in_folder(model: Path, configuration: str | None, fold: str | None) -> Trained:
    if (model / PLANS).exists():
        return _trained(model, fold, model)
    # a fold may be a link, be called by one, or be where the caller is
    places = [place for place in (model.absolute(), model.resolve()) if FOLD.fullmatch(place.name)]
    if places:
        place = next((place for place in places if (place.parent / PLANS).exists()), None)
        if place is None:
            raise SetupError(f"{model}: the folder around it has no {PLANS}; give the trainer's folder as it was")
        own = place.name.removeprefix("fold_")
        if fold not in (None, own):
            raise SetupError(f"{model}: is fold {own}, and --fold says {fold}; leave that out")
        return _trained(place.parent, own, model)
    trainers = _above(model, f"*/{PLANS}", 1)
    if not trainers and (sets := _above(model, f"*/*/{PLANS}", 2)):
        raise SetupError(f"{model}: holds data sets; give the folder of one: {listed(sets)}")
    return _trained(Path(_chosen(trainers, configuration, model)), fold, model)


def _above(model: Path, pattern: str, levels: int) -> list[str]:
    """The folders so many levels above what fits, each once."""
    found = {str(path.parents[levels - 1]) for path in model.glob(pattern)}
    return sorted(folder for folder in found if folder.isprintable())


def _chosen(folders: Sequence[str], configuration: str | None, model: Path) -> str:
    """Of the folders that hold a plans.json the one of that configuration, or the only one."""
    if not folders:
        raise SetupError(
            f"{model}: has no {PLANS}; supported are models that nnU-Net v2 trained; an export that stopped half-way "
            "lacks it"
        )
    named = {folder: PurePosixPath(folder).name.rpartition("__")[2] for folder in folders}
    fitting = [folder for folder in folders if configuration in (None, named[folder])]
    if len(fitting) == 1:
        return fitting[0]
    there = listed([*map(shown, sorted(set(named.values())))])
    if not fitting:
        raise SetupError(f"{model}: has no configuration {configuration}; there are {there}")
    if len(set(named.values())) > 1 and configuration is None:
        raise SetupError(f"{model}: has several configurations; choose one with --configuration: {there}")
    how = "give the folder of one" if model.is_dir() else "unzip it and give the folder of one"
    raise SetupError(f"{model}: has several trainers; {how}: {listed(fitting)}")


def _trained(folder: Path, fold: str | None, model: Path) -> Trained:
    """The folds of a trainer's folder. Without `fold` those that are numbered, else `all`, as nnU-Net predicts."""
    there = {path.name.removeprefix("fold_"): path for path in folder.iterdir() if FOLD.fullmatch(path.name)}
    files = {name: _checkpoint(path) for name, path in there.items()}
    found = {name: file for name, file in files.items() if file is not None}
    if fold is not None:
        wanted = [fold]
    else:
        # where none can be used, what is wrong is said of one that is there
        wanted = sorted(name for name in found if name != "all") or sorted(there, reverse=True)[:1] or ["all"]
    for name in wanted:
        if name not in found:
            what = f"has no {' or '.join(CHECKPOINTS)} in it" if name in there else "is not there"
            others = f"; there are {', '.join(sorted(found))}" if found else ""
            raise SetupError(f"{model}: fold_{name} {what}{others}")
    without = sorted(there.keys() - found.keys() - {"all"}) if fold is None else []
    return Trained(folder, {name: found[name] for name in wanted}, tuple(without))


def _checkpoint(folder: Path) -> Path | None:
    return next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)


def _unpacked(model: Path, folder: Path, configuration: str | None) -> Path:
    """The trainer's folder, unpacked into `folder` as far as it is needed."""
    try:
        with zipfile.ZipFile(model) as archive:
            entries = archive.infolist()
            check_entries(entries, model)
            plans = [PurePosixPath(entry.filename).parent for entry in entries if _is_named(entry, PLANS)]
            chosen = PurePosixPath(_chosen(sorted(str(path) for path in plans), configuration, model))
            needed = [entry for entry in entries if _is_needed(PurePosixPath(entry.filename), chosen)]
            if sum(entry.file_size for entry in needed) > shutil.disk_usage(folder).free:
                raise SetupError(f"{model}: {folder} has no room to unpack it; set TMPDIR to a folder that has")
            for entry in needed:
                target = folder / PurePosixPath(entry.filename).relative_to(chosen)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy, COPIED_AT_ONCE)  # never more than declared
    except (*BROKEN, RuntimeError, EOFError, ValueError) as error:
        raise SetupError(
            f"{model}: is a damaged or encrypted zip: {shown(str(error))}; export the model again"
        ) from error
    except OSError as error:
        raise SetupError(f"{model}: cannot be unpacked: {error.strerror or error}") from error
    return folder


def check_entries(entries: Iterable[zipfile.ZipInfo], model: Path) -> None:
    """SetupError unless every name stays within the folder that it is unpacked into, is there once, is a plain file or
    folder, and declares a size that can be."""
    names: set[str] = set()
    for count, entry in enumerate(entries, 1):
        name = entry.filename
        if count > MOST_ENTRIES:
            raise SetupError(f"{model}: has more than {MOST_ENTRIES} entries; no exported model has")
        called = shown(repr(name))
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or any(DRIVE.match(part) for part in path.parts):
            raise SetupError(f"{model}: holds {called}, a name that leads out of a folder; nothing was unpacked")
        if "\\" in name or not name.isprintable() or len(name) > MOST_NAME:
            raise SetupError(f"{model}: holds {called}, {ODD_NAME}; nothing was unpacked")
        if path.as_posix() in names:
            raise SetupError(f"{model}: holds {called} twice; nothing was unpacked")
        names.add(path.as_posix())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SetupError(f"{model}: holds {called}, which is a link or no plain file; nothing was unpacked")
        packed = max(entry.compress_size, 1)
        if entry.file_size > MOST_BYTES or (entry.file_size > SMALL and entry.file_size > MOST_RATIO * packed):
            raise SetupError(
                f"{model}: holds {called}, which declares {entry.file_size} bytes in {entry.compress_size}; nothing "
                "was unpacked"
            )


def _is_named(entry: zipfile.ZipInfo, name: str) -> bool:
    return not entry.is_dir() and PurePosixPath(entry.filename).name == name


def _is_needed(path: PurePosixPath, folder: PurePosixPath) -> bool:
    """Whether a file of a trainer's folder is read at all."""
    if path.parent == folder:
        return path.name in (PLANS, DATASET)
    return path.parent.parent == folder and bool(FOLD.fullmatch(path.parent.name)) and path.name in CHECKPOINTS
