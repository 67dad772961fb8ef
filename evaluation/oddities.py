"""Oddities: `python -m evaluation.oddities SCAN ...`. Scans damaged as real folders hold them: is a wrong mask said?

Each SCAN is a `.nii.gz` of an abdomen. It is segmented; then damaged in each way (`evaluation.maintenance.damages`)
and segmented again. Dice is that of the damaged scan's mask with the undamaged one's, brought to the same voxels: the
mean over organs of which either has a millilitre. With --mixtures also some that were damaged in several ways at once.

A kind fails where its mask is wrong and its verdict good; the exit status is 1 then. With --undamaged the scans alone
are segmented, and it is 1 where one of them is doubted. Of each mask agreement, lead and arrangement are printed (the
report's `evidence`), in the end the least of each over the undamaged scans: limits under `[doubt]` lie below those.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.files.cases import case_name
from evaluation.maintenance import damages
from evaluation.maintenance.damages import Damage, NoSuchPart, Sample
from evaluation.maintenance.reported import Line, codes, reported
from evaluation.maintenance.system_figures import write_table
from evaluation.scores.overlap import dice

ALIKE, ALIKE_RESAMPLED = 0.95, 0.93  # Dice, from which on a mask is right
RESAMPLED = ("oblique", "tilted")
LEFT_KIDNEY = 13
LEAST_ML = 1.0
MOST_MIXTURES = 500  # of 2672 that there are
UNDAMAGED = "undamaged"
TOLD = ("agreement", "lead", "arrangement")
BEGIN, END = "<!-- written by python -m evaluation.oddities from here -->", "<!-- to here -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "oddities.md"

ORIENTATION: dict[str, Damage] = {
    "front is back": lambda s: damages.in_order(s, (0, 1, 2), (False, True, False)),
    "head is down": lambda s: damages.in_order(s, (0, 1, 2), (False, False, True)),
    "left is right": lambda s: damages.in_order(s, (0, 1, 2), (True, False, False)),
    "lies on its side": lambda s: damages.in_order(s, (1, 0, 2), (True, False, False)),
    "coronal slices, header axial": lambda s: damages.in_order(s, (0, 2, 1), (False, True, False)),
    "header is diagonal": damages.diagonal_header,
    "sform wrong, qform right": damages.wrong_sform,
    "oblique 20 degrees about x": partial(damages.oblique, axis=0, degrees=20),
    "oblique 40 degrees about x": partial(damages.oblique, axis=0, degrees=40),
    "oblique 35 degrees about z": partial(damages.oblique, axis=2, degrees=35),
    "tilted gantry, 30 degrees": partial(damages.tilted_gantry, degrees=30),
}
VALUES: dict[str, Damage] = {
    "0 outside the circle": partial(damages.circle_of, value=0),
    "padded with 0": partial(damages.padded_with, value=0),
    "wrapped in 16 bits": damages.wrapped,
    "HU + 1024": partial(damages.stored_with_offset, offset=1024, kind=np.uint16),
    "HU + 1000": partial(damages.stored_with_offset, offset=1000, kind=np.int16),
    "HU + 32768": partial(damages.stored_with_offset, offset=32768, kind=np.uint16),
    "intercept taken off twice": partial(damages.stored_with_offset, offset=-1024, kind=np.int16),
    "a window in 8 bits": damages.eight_bits,
}
PARTS: dict[str, Damage] = {
    "ten slices": damages.few_slices,
    "box around the left kidney": partial(damages.box_around, organ=LEFT_KIDNEY),
    "below the organs": damages.below_organs,
    "above the organs": damages.above_organs,
}
FILES: dict[str, Damage] = {
    "a fourth axis of one": damages.fourth_axis,
    "voxel sizes of 0": damages.no_pixdim,
    "rubbish behind the gzip": damages.rubbish_behind,
    "unit is micron": damages.micron,
}
KINDS = {**ORIENTATION, **VALUES, **PARTS, "noise": damages.noise, **FILES}


@dataclass(frozen=True)
class Row:
    """What became of one damaged scan. dice: None where there is no mask. evidence: as the report has it."""

    scan: str
    kind: str
    dice: float | None
    verdict: str
    said: str
    evidence: dict[str, float | None] | None = None

    @property
    def is_right(self) -> bool:
        """Whether the mask is that of the undamaged scan."""
        least = ALIKE_RESAMPLED if any(word in self.kind for word in RESAMPLED) else ALIKE
        return self.dice is not None and self.dice >= least

    @property
    def fails(self) -> bool:
        """A wrong mask without a word, and a scan that is refused as it is."""
        return not self.is_right and (self.verdict == "good" or self.kind == UNDAMAGED)


def mean_dice(mask: NDArray[np.uint8], reference: NDArray[np.uint8], voxel_ml: float) -> float:
    """Over organs of which either has `LEAST_ML`; 1 where neither has any.

    >>> mean_dice(np.array([1, 1, 2], np.uint8), np.array([1, 0, 2], np.uint8), 1.0)
    0.8333333333333333
    """
    values = []
    for organ in np.union1d(np.unique(mask), np.unique(reference)):
        if not organ:
            continue
        a, b = mask == organ, reference == organ
        if max(np.count_nonzero(a), np.count_nonzero(b)) * voxel_ml >= LEAST_ML:
            values.append(dice(a, b))
    return float(np.mean(values)) if values else 1.0


def mixtures(count: int, seed: int) -> Iterator[tuple[str, Damage]]:
    """As many different ones: of each of two to four sorts of damage one, drawn at random; what reaches into the file
    comes last."""
    rng = np.random.default_rng(seed)
    sorts = (PARTS, ORIENTATION, VALUES, FILES)
    drawn: set[tuple[str, ...]] = set()
    while len(drawn) < count:
        chosen = sorted(rng.choice(len(sorts), rng.integers(2, len(sorts) + 1), replace=False))
        names = tuple(str(rng.choice(list(sorts[index]))) for index in chosen)
        if names in drawn:
            continue
        drawn.add(names)
        yield " & ".join(names), partial(_all_of, kinds=[KINDS[name] for name in names])


def _all_of(sample: Sample, kinds: list[Damage]) -> Sample:
    for damage in kinds:
        sample = damage(sample)
    return sample


def measure(scan: Path, kinds: dict[str, Damage], run: Callable[[Path, Path], Line]) -> list[Row]:
    """Every kind of damage of one scan; none of one that is refused as it is. run: segments the one scan of a folder
    into another; its line of the report."""
    with tempfile.TemporaryDirectory() as name:
        inputs, outputs = Path(name) / "inputs", Path(name) / "outputs"
        image = nib.nifti1.load(scan)
        voxels = np.asarray(image.dataobj).astype(np.int16)
        inputs.mkdir()
        empty = np.zeros(voxels.shape, np.uint8)
        Sample(voxels, image.affine, empty).write(inputs / "whole_0000.nii.gz")
        whole = run(inputs, outputs)
        if whole["status"] != "done":
            rows = [Row(case_name(scan), UNDAMAGED, None, "refused", whole["error"])]
            print(_text(rows[0]), flush=True)
            return rows
        mask = np.asarray(nib.nifti1.load(outputs / "whole.nii.gz").dataobj)
        rows = [Row(case_name(scan), UNDAMAGED, 1.0, whole["verdict"], codes(whole), whole["evidence"])]
        print(_text(rows[0]), flush=True)
        sample = Sample(voxels, image.affine, mask)
        (inputs / "whole_0000.nii.gz").unlink()
        for kind, damage in kinds.items():
            try:
                damaged = damage(sample)
            except NoSuchPart as error:
                print(f"{'-':<6}{case_name(scan):<22}{kind:<30} left out: {error}", flush=True)
                continue
            path = inputs / "damaged_0000.nii.gz"
            damaged.write(path)
            line = run(inputs, outputs)
            rows.append(_row(case_name(scan), kind, damaged, sample, line))
            print(_text(rows[-1]), flush=True)
    return rows


def _row(scan: str, kind: str, damaged: Sample, whole: Sample, line: Line) -> Row:
    if line["status"] != "done":
        return Row(scan, kind, None, "refused", line["error"])
    got = np.asarray(nib.nifti1.load(line["output"]).dataobj).reshape(damaged.voxels.shape[:3])
    reference = damages.at(whole.organs, damaged.to_scan, got.shape, 0).astype(np.uint8)
    if not damaged.organs.any():
        reference = np.zeros_like(reference)  # of noise
    voxel_ml = float(abs(np.linalg.det(damaged.to_scan[:3, :3]))) * whole.voxel_ml
    return Row(scan, kind, mean_dice(got, reference, voxel_ml), line["verdict"], codes(line), line["evidence"])


def _text(row: Row) -> str:
    figure = "-" if row.dice is None else f"{row.dice:.3f}"
    evidence = {name: value for name, value in (row.evidence or {}).items() if name in TOLD and value is not None}
    told = ", ".join(f"{name} {value:.2f}" for name, value in evidence.items())
    text = f"{'FAILS' if row.fails else 'ok':<6}{row.scan:<22}{row.kind:<30} {figure:>6} {row.verdict:<9}{row.said}"
    return f"{text} ({told})" if told else text


def least_evidence(rows: list[Row]) -> str:
    """Of agreement, lead and arrangement the least, and whose; nothing where no scan has any."""
    least = []
    for name in TOLD:
        values = [((row.evidence or {}).get(name), row.scan) for row in rows]
        known = sorted((value, scan) for value, scan in values if value is not None)
        least += [f"{name} {value:.3f} ({scan})" for value, scan in known[:1]]
    return ", ".join(least)


def table(rows: list[Row]) -> str:
    """Markdown, a row a kind, a column a scan: Dice, verdict and what is said."""
    scans = list(dict.fromkeys(row.scan for row in rows))
    kinds = list(dict.fromkeys(row.kind for row in rows))
    cells = {(row.scan, row.kind): row for row in rows}
    lines = [f"| kind | {' | '.join(scans)} | said |", f"|---|{'---|' * (len(scans) + 1)}"]
    for kind in kinds:
        there = [cells.get((scan, kind)) for scan in scans]
        said = dict.fromkeys(word for row in there if row for word in row.said.split(", ") if word)
        lines.append(f"| {kind} | {' | '.join(_cell(row) for row in there)} | {', '.join(said)} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    figure = "" if row.dice is None else f"{row.dice:.3f} "
    return f"{figure}{row.verdict}{', **wrong and good**' if row.fails else ''}"


def write_document(text: str) -> None:
    """Between its marks in docs/oddities.md."""
    write_table(DOCUMENT, text, (BEGIN, END))


def main() -> None:
    """Parses the arguments, damages, segments, writes the table; exit status 1 where a kind fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"of: {', '.join(KINDS)}")
    parser.add_argument("--undamaged", action="store_true", help="only the scans as they are: none should be doubted")
    parser.add_argument("--mixtures", type=int, default=0, metavar="N", help="of several damages at once, a scan")
    parser.add_argument("--seed", type=int, default=0, help="of the mixtures (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"the table into {DOCUMENT.name}")
    arguments = parser.parse_args()
    if arguments.write and (arguments.kinds or arguments.undamaged):
        parser.error("--write goes with all kinds: the document's table is whole")
    if arguments.undamaged and arguments.mixtures:
        parser.error("--undamaged is of the scans as they are, and goes with no --mixtures")
    if arguments.mixtures > MOST_MIXTURES:
        parser.error(f"--mixtures must be {MOST_MIXTURES} at the most")
    kinds = {} if arguments.undamaged else {name: KINDS[name] for name in arguments.kinds or KINDS}
    rows: list[Row] = []
    for number, scan in enumerate(arguments.scans):
        mixed = dict(mixtures(arguments.mixtures, arguments.seed + number))
        rows += measure(scan, {**kinds, **mixed}, partial(_run, system=arguments.system))
    single = [row for row in rows if row.kind in kinds or row.kind == UNDAMAGED]
    print(f"\n{table(single)}")
    if least := least_evidence([row for row in rows if row.kind == UNDAMAGED]):
        print(f"\nleast of the undamaged scans: {least}")
    if arguments.write and all(row.dice is not None for row in rows if row.kind == UNDAMAGED):
        write_document(table(single))
    failed = [row for row in rows if row.fails or (arguments.undamaged and row.verdict != "good")]
    if arguments.undamaged:
        print(f"\n{len(rows)} scans, {len(failed)} of them doubted")
        parser.exit(int(bool(failed)))
    print(f"\n{len(rows)} scans, {sum(row.is_right for row in rows)} right, {len(failed)} wrong and said to be good")
    parser.exit(int(bool(failed)))


def _run(inputs: Path, outputs: Path, system: str) -> Line:
    (line,) = reported(inputs, outputs, system)
    return line


if __name__ == "__main__":
    main()
