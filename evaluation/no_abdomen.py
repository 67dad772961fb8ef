"""No abdomen: `python -m evaluation.no_abdomen DATA`. What the whole pipeline makes of scans without an organ.

DATA holds `train` and `val`. The slices above the highest label, or below the lowest, of scans named here (kept out of
the localiser's training by its recipe), a scan of air and a cylinder of water go through the pipeline: phase one must
find no box, and the mask must stay all but empty.
"""

import argparse
import json
import tempfile
from pathlib import Path

from app.run.command_line import main as segment
from evaluation.maintenance.no_organs import write_phantoms, write_slab

ABOVE = ("train/onko_thorax", "train/tcga_34_2605_chest", "val/ircad_19")
BELOW = ("train/tcga_ay_4070a", "train/acrin_flt_001", "val/ircad_19")
ALLOWED_ML = 5


def main() -> None:
    """Parses the arguments, runs, prints a line per scan; exit status 1 where a box or too much was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of train and val")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs, report = Path(name) / "inputs", Path(name) / "report.jsonl"
        inputs.mkdir()
        try:
            for case in ABOVE:
                write_slab(arguments.data, case, above=True, folder=inputs)
            for case in BELOW:
                write_slab(arguments.data, case, above=False, folder=inputs)
        except OSError as error:
            parser.exit(2, f"{error}\n")
        write_phantoms(inputs)
        outputs = ["--outputs", str(Path(name) / "outputs"), "--report", str(report)]
        segment(["--inputs", str(inputs), *outputs, "--system", arguments.system])
        lines = [json.loads(line) for line in report.read_text().splitlines()]
    failed = len(lines) != len(ABOVE) + len(BELOW) + 2  # and two phantoms
    for line in lines:
        organs = line["volume_ml"] or {}
        found = ", ".join(f"{organ} {ml:.1f}" for organ, ml in organs.items() if ml)
        bad = line["status"] != "done" or line["box"] is not None or sum(organs.values()) > ALLOWED_ML
        failed = failed or bad
        box = "no box" if line["box"] is None else f"box {line['box']}"
        print(f"{'FAILS' if bad else 'ok':<6}{line['case']:<28}{box}, {sum(organs.values()):.1f} ml {found}")
    parser.exit(int(failed))


if __name__ == "__main__":
    main()
