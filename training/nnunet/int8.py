"""INT8: quantised files beside a bundle's float32 ones, calibrated on a user's scans and held against float32."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import openvino

from app.errors import SetupError
from app.files.cases import find_cases
from app.models.bundle import load_bundle
from app.system.definition import System
from app.types import Volume
from training.export import quantised, save_ir
from training.nnunet.bundle import plain_beside, with_accuracy
from training.nnunet.windows import CALIBRATED, COMPARED, agreement, single, windows_of

OF_INT8 = "int8"  # in a bundle's accuracy


def add_int8(
    scans: Path, bundles: Sequence[Path], system: System, least: float, threads: int, say: Callable[[str], None]
) -> None:
    """INT8 files of every bundle, calibrated on windows of scans, and in its card how far they are float32.

    system: float32's, whose steps the scans go through. least: the share of the labelled voxels that both must call the
    same. SetupError where one is below it, and where the scans are too few or show nothing.
    """
    cases, _ = find_cases(scans, bundles[0])
    bundle = load_bundle(bundles[0])
    windows = windows_of([case.source for case in cases], single(system), bundle, CALIBRATED + COMPARED, threads)
    compared, calibrated = windows[:COMPARED], windows[COMPARED:]
    if not calibrated:
        raise SetupError(f"{scans}: gives {len(windows)} windows, and {COMPARED} are compared alone; give more scans")
    for folder in bundles:
        _quantise(folder, calibrated, compared, least, threads, say)


def _quantise(
    folder: Path,
    calibrated: list[Volume],
    compared: list[Volume],
    least: float,
    threads: int,
    say: Callable[[str], None],
) -> None:
    model = openvino.Core().read_model(plain_beside(folder) / "model.xml")
    save_ir(
        quantised(model, [window[None, None] for window in calibrated]), folder / "model-int8.xml", as_float16=False
    )
    bundle = with_accuracy(folder, {})
    found = agreement(bundle, compared, threads)
    if not found.dice:
        raise SetupError(f"{folder.name}: sees no label in the windows of these scans; give scans that show some")
    say(f"{folder.name}: INT8 and float32 agree on {found.share:.2%} of the labelled voxels of {len(compared)} windows")
    for label, dice in found.dice.items():
        say(f"    {label}: Dice {dice:.3f}")
    if found.share < least:
        raise SetupError(
            f"{folder.name}: INT8 agrees with float32 on {found.share:.2%} of labelled voxels, less than {least:.2%}; "
            "give more scans like those it was trained on, or say --least-agreement"
        )
    with_accuracy(folder, {OF_INT8: asdict(found) | {"windows": len(compared)}})
