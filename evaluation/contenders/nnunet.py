"""nnU-Net: the nnunetv2 package's own predictor on the CPU, without mirroring, one scan, no worker processes.

MODEL is a trained model's folder as the package has it, which `evaluation.contenders.prepare` writes.
"""

import os
from pathlib import Path

import torch

from app.files.cases import case_name
from evaluation.contenders.program import Clock, parser, report

THREADS = os.cpu_count() or 1


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    made = parser(__doc__)
    made.add_argument("--model", type=Path, required=True)
    arguments = made.parse_args()
    # read when the package is imported: it would take 8 threads, and complains about folders that prediction never uses
    os.environ["nnUNet_def_n_proc"] = str(THREADS)  # noqa: SIM112  # its own name
    for folder in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{folder}", str(arguments.outputs))
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(THREADS)
    with clock.timed("load"):
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(arguments.model), use_folds=(0,))
    with clock.timed("predict"):
        target = arguments.outputs / case_name(arguments.scan)
        predictor.predict_from_files_sequential([[str(arguments.scan)]], [str(target)])
    report(clock)


if __name__ == "__main__":
    main()
