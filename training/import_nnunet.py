"""Import: `python -m training.import_nnunet MODEL --name NAME`. A trained nnU-Net v2 model becomes bundles and systems.

MODEL is what nnUNetv2_export_model_to_zip wrote, a trainer's folder, one of its folds, or a data set's results. Nothing
in it is run. Writes `weights/NAME`, of several folds one bundle each, and `systems/NAME.toml`; all of it or nothing.
"""

import argparse
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import SetupError, VisceraError
from app.files.cases import find_cases
from app.models.bundle import INT8
from app.run.resources import thread_count
from app.system.definition import SYSTEMS, WEIGHTS, System, read_system
from app.types import Scores
from training.export import FLOAT32
from training.networks.exact_norm import with_exact_norms
from training.nnunet.archive import DATASET, PLANS, Trained, opened
from training.nnunet.bundle import (
    description,
    fast_steps,
    own_steps,
    plain_beside,
    read_card,
    save_network,
    share_engine,
    with_accuracy,
    write_card,
)
from training.nnunet.checkpoint import Checkpoint, read_checkpoint
from training.nnunet.footprint import holds_mb
from training.nnunet.int8 import OF_INT8, add_int8
from training.nnunet.network import network_of
from training.nnunet.plans import Plan, read_plan
from training.nnunet.proof import known_scores, proof_of_scores
from training.nnunet.systems import beyond_the_abdomen, fast_system, int8_system, own_system
from training.nnunet.tables import listed, read_table
from training.nnunet.whole_case import check_package, predicted, proof_of_case

NAME = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)
FAST_DIFFERENCE = 0.05  # of the largest score; OpenVINO's own norms are less exact
FAST, FOLD, SYSTEM_OF_INT8 = "-fast", "-fold-", "-int8"  # after a model's name
RAW_SCORES, WHOLE_CASE = "raw_scores", "whole_case"  # in a bundle's accuracy


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command was told; `main` has each option's help."""

    model: Path
    name: str
    weights: Path = WEIGHTS
    systems: Path = SYSTEMS
    configuration: str | None = None
    fold: str | None = None
    mirror: bool = False
    fast: bool = False
    int8: Path | None = None
    proof_scan: Path | None = None
    most_difference: float = 1e-4
    least_agreement: float = 0.98


@dataclass(frozen=True, slots=True)
class Imported:
    """plan: of all folds. mirror_axes: of (z, y, x), those that are mirrored in use. bundles: folders, by fold."""

    plan: Plan
    mirror_axes: tuple[int, ...]
    bundles: list[Path]


def import_model(choices: Choices, say: Callable[[str], None] = print) -> list[Path]:
    """Bundles and systems of a model: the files of the systems. SetupError says what is wrong, and nothing is left."""
    check_free(choices)
    _check_options(choices)
    threads = thread_count()
    with opened(choices.model, choices.configuration, choices.fold) as trained, _workshop(choices.weights) as shop:
        dataset = read_table(trained.folder / DATASET)
        ending = dataset.text("file_ending") if choices.proof_scan is not None else ""
        if choices.proof_scan is not None:
            check_package(choices.proof_scan, ending)
        for fold in trained.without:
            say(f"fold_{fold} has no checkpoint and is left out")
        imported = _bundles(choices, trained, shop, threads, say)
        if choices.fast and imported.plan.intensities is None:
            raise SetupError(f"{choices.model}: has ZScoreNormalization; --fast takes values for HU, leave it out")
        own = _system(own_system, imported, shop, choices.name)
        if choices.int8 is not None:
            add_int8(choices.int8, imported.bundles, own, choices.least_agreement, threads, say)
        fast = _fast_bundles(choices.name, imported, shop) if choices.fast else None
        if choices.fast and (others := beyond_the_abdomen(imported.plan)):
            say(f"{choices.name}{FAST} sees the whole scan: {listed(others)} may lie beyond the abdomen's box")
        if choices.proof_scan is not None:
            with tempfile.TemporaryDirectory(prefix="proof-") as folder:
                theirs = predicted(
                    choices.proof_scan, trained, ending, Path(folder), mirrored=bool(imported.mirror_axes)
                )
                _prove_case(choices.proof_scan, theirs, own, imported, threads, say)
                if fast is not None:
                    system = _system(fast_system, fast, shop, f"{choices.name}{FAST}")
                    _prove_case(choices.proof_scan, theirs, system, fast, threads, say)
        return _put_in_place(choices, imported, fast)


def _check_options(choices: Choices) -> None:
    """SetupError for what would be found out after minutes alone."""
    if choices.fold is not None and not re.fullmatch(r"\d{1,3}|all", choices.fold):
        raise SetupError(f"--fold {choices.fold[:80]!r}: must be a number, or all")
    if not 0 <= choices.least_agreement <= 1:
        raise SetupError(f"--least-agreement {choices.least_agreement}: must be a share, from 0 to 1")
    if not 0 < choices.most_difference <= 1:
        raise SetupError(f"--most-difference {choices.most_difference}: must be a share above 0, 1 at the most")
    if choices.int8 is not None:
        find_cases(choices.int8, choices.weights)


def check_free(choices: Choices) -> None:
    """SetupError where the name cannot be one, or something of it is there."""
    if not NAME.fullmatch(choices.name):
        raise SetupError(f"--name {choices.name[:80]!r}: must be letters, digits, _ and -, a letter or digit first")
    for folder in (choices.weights, choices.systems):
        if not folder.is_dir():
            raise SetupError(f"{folder}: is no folder; make it, or name another")
    taken = [path for path in choices.weights.iterdir() if _is_of(path.name, choices.name)]
    taken += [path for path in choices.systems.glob("*.toml") if _is_of(path.stem, choices.name)]
    if taken:
        raise SetupError(f"{sorted(taken)[0]}: is there; give another --name, or remove it and what belongs to it")


def _is_of(found: str, name: str) -> bool:
    """Whether a bundle or system is one that an import of that name would write."""
    pattern = rf"{re.escape(name)}({FAST})?({FOLD}(\d+|all))?({SYSTEM_OF_INT8})?"
    return re.fullmatch(pattern, found) is not None


@contextmanager
def _workshop(weights: Path) -> Iterator[Path]:
    """A folder beside the bundles, so that one is whole when it is renamed; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".import-", dir=weights) as folder:
        yield Path(folder)


def _bundles(choices: Choices, trained: Trained, shop: Path, threads: int, say: Callable[[str], None]) -> Imported:
    """A bundle in float32 of every fold, each with its proof. One fold's weights are in memory at a time."""
    plan, first, folders = None, None, []
    mirror_axes: tuple[int, ...] = ()
    for fold, file in trained.folds.items():
        checkpoint = read_checkpoint(file)
        if plan is None or first is None:
            plan, first = _plan(choices, trained, checkpoint, file), checkpoint
            mirror_axes = _mirror_axes(choices, plan, first)
        if _training(checkpoint) != _training(first):
            raise SetupError(f"{file}: was trained otherwise than the folds before it; import it alone with --fold")
        name = choices.name if len(trained.folds) == 1 else f"{choices.name}{FOLD}{fold}"
        folder = shop / name
        folder.mkdir()
        network = network_of(plan, checkpoint.weights, file)
        known = known_scores(plan, checkpoint.weights, network, file)
        save_network(with_exact_norms(network), plan, folder)
        if choices.fast or choices.int8 is not None:
            plain_beside(folder).mkdir()
            save_network(network, plan, plain_beside(folder))
        table = description(plan, name, own_steps(plan), _came_from(plan, checkpoint, file, fold))
        proof = _proven(folder, table, plan, known, choices.most_difference, file, threads)
        if choices.fast:
            _proven(plain_beside(folder), table, plan, known, FAST_DIFFERENCE, file, threads)
        say(
            f"{name}: raw scores differ by {proof['largest_difference']:.1e} at the most from {proof['against']}; the "
            f"largest is {proof['largest_score']:.3g}"
        )
        folders.append(folder)
    if plan is None or first is None:
        raise SetupError(f"{choices.model}: has no fold with a checkpoint")
    return Imported(plan, mirror_axes, folders)


def _proven(
    folder: Path, table: dict[str, Any], plan: Plan, known: Scores, most: float, file: Path, threads: int
) -> dict[str, Any]:
    """Writes a bundle's card with what is measured of it; the proof of its raw scores."""
    bundle = write_card(folder, table, {})
    proof = proof_of_scores(plan, known, bundle, threads)
    _check_proof(proof, most, file)
    write_card(folder, table | {"holds_mb": holds_mb(bundle, threads)}, {RAW_SCORES: proof})
    return proof


def _plan(choices: Choices, trained: Trained, checkpoint: Checkpoint, file: Path) -> Plan:
    if choices.configuration not in (None, checkpoint.configuration):
        raise SetupError(
            f"{file}: is of configuration {checkpoint.configuration[:80]!r}, and --configuration says "
            f"{choices.configuration}"
        )
    plans, dataset = (read_table(trained.folder / name) for name in (PLANS, DATASET))
    return read_plan(plans, dataset, checkpoint.configuration, trainer=checkpoint.trainer)


def _training(checkpoint: Checkpoint) -> tuple[str, str, tuple[int, ...]]:
    return checkpoint.trainer, checkpoint.configuration, checkpoint.mirror_axes


def _mirror_axes(choices: Choices, plan: Plan, checkpoint: Checkpoint) -> tuple[int, ...]:
    """Of (z, y, x): those along which training mirrored, where that is asked for."""
    if not choices.mirror:
        return ()
    if not checkpoint.mirror_axes:
        raise SetupError(f"{choices.model}: was trained without mirroring; leave out --mirror")
    return tuple(axis for axis, own in enumerate(plan.axes) if own in checkpoint.mirror_axes)


def _came_from(plan: Plan, checkpoint: Checkpoint, file: Path, fold: str) -> dict[str, Any]:
    return {
        "imported_from": "nnU-Net v2",
        "data_set": plan.data_set,
        "configuration": plan.configuration,
        "trainer": checkpoint.trainer,
        "fold": fold,
        "checkpoint": file.name,
    }


def _check_proof(proof: dict[str, Any], most: float, file: Path) -> None:
    if not proof["largest_difference"] <= most * max(1, proof["largest_score"]):  # NaN is not, either
        raise SetupError(
            f"{file}: raw scores differ by {proof['largest_difference']:.1e} from {proof['against']}, more "
            f"than {most:g} of the largest score, {proof['largest_score']:.3g}; --most-difference allows more"
        )


def _system(text: Callable[..., str], imported: Imported, shop: Path, name: str) -> System:
    """The system as it will be, with the bundles where they still are."""
    path = shop / f"{name}.toml"
    path.write_text(text(imported.plan, [str(folder.resolve()) for folder in imported.bundles], imported.mirror_axes))
    return read_system(str(path))


def _fast_bundles(name: str, imported: Imported, shop: Path) -> Imported:
    """The same engines in bundles that have this project's steps."""
    folders = []
    for source in imported.bundles:
        card = read_card(source)
        fast = f"{name}{FAST}{source.name.removeprefix(name)}"
        folder = shop / fast
        folder.mkdir()
        share_engine(FLOAT32, plain_beside(source), folder)
        share_engine(INT8, source, folder)
        plain = read_card(plain_beside(source))
        new = description(imported.plan, fast, fast_steps(imported.plan), card["training"])
        new["holds_mb"] = plain["holds_mb"]  # its largest window is the same, to a few voxels
        of_int8 = {key: card["accuracy"][key] for key in (OF_INT8,) if key in card["accuracy"]}
        write_card(folder, new, plain["accuracy"] | of_int8)
        folders.append(folder)
    return Imported(imported.plan, imported.mirror_axes, folders)


def _prove_case(
    scan: Path, theirs: Path, system: System, imported: Imported, threads: int, say: Callable[[str], None]
) -> None:
    proof = proof_of_case(scan, theirs, system, imported.plan.labels, threads)
    for folder in imported.bundles:
        with_accuracy(folder, {WHOLE_CASE: proof})
    say(
        f"{imported.bundles[0].name}: of {scan.name} {proof['same_label']:.3%} of all voxels and "
        f"{proof['same_of_labelled']:.2%} of the labelled have the label of {proof['against']}"
    )
    for label, dice in proof["dice"].items():
        say(f"    {label}: Dice {dice:.4f}")


def _put_in_place(choices: Choices, imported: Imported, fast: Imported | None) -> list[Path]:
    """Bundles first, then the systems that name them; what is in place is taken away again if anything fails."""
    texts: dict[str, str] = {}
    for name, text, found in ((choices.name, own_system, imported), (f"{choices.name}{FAST}", fast_system, fast)):
        if found is None:
            continue
        texts[name] = text(found.plan, _names(found.bundles, choices.weights), found.mirror_axes)
        if choices.int8 is not None:
            texts[f"{name}{SYSTEM_OF_INT8}"] = int8_system(name, texts[name])
    placed: list[Path] = []
    try:
        for folder in [*imported.bundles, *(fast.bundles if fast is not None else [])]:
            target = choices.weights / folder.name
            folder.rename(target)
            placed.append(target)
        files = []
        for name, text_of in texts.items():
            file = choices.systems / f"{name}.toml"
            with file.open("x", encoding="utf-8") as new:
                placed.append(file)
                new.write(text_of)
            files.append(file)
    except BaseException:
        for path in placed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    return files


def _names(bundles: list[Path], weights: Path) -> list[str]:
    """As a system names them: by the folder under `weights/`, or by the whole path where they lie elsewhere."""
    ours = weights.resolve() == WEIGHTS.resolve()
    return [folder.name if ours else str((weights / folder.name).resolve()) for folder in bundles]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Parses the arguments and imports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True, help="of the bundles and systems")
    parser.add_argument("--configuration", help="of several, such as 3d_fullres")
    parser.add_argument("--fold", help="a number, or all for fold_all; by itself the scores of all folds are averaged")
    parser.add_argument(
        "--mirror", action="store_true", help="along the axes that training mirrored; up to 8 times as slow"
    )
    parser.add_argument("--fast", action="store_true", help="a second system with this project's steps")
    parser.add_argument("--int8", type=Path, metavar="SCANS", help="INT8, too, calibrated on these scans")
    parser.add_argument("--least-agreement", type=float, default=0.98, help="of INT8 (default: %(default)s)")
    parser.add_argument(
        "--most-difference", type=float, default=1e-4, help="of raw scores, of the largest (default: %(default)s)"
    )
    parser.add_argument("--proof-scan", type=Path, metavar="SCAN", help="segmented by nnunetv2, too, and compared")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the bundles (default: weights/)")
    parser.add_argument("--systems", type=Path, default=SYSTEMS, help="folder of the systems (default: systems/)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)  # by itself it would leave the folder that bundles are made in
    try:
        files = import_model(Choices(**vars(arguments)))
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    except MemoryError:
        parser.exit(2, f"{arguments.model}: its windows need more memory than there is here; use a larger machine\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; nothing was written\n")
    print("written: " + ", ".join(map(str, files)))


if __name__ == "__main__":
    main()
