"""nnU-Net: the nnunetv2 package's own predictor on the CPU, without mirroring, one scan, no worker processes.

MODEL is a trained model's folder as the package has it, which `evaluation.contenders.prepare` writes.
"""

import os
from pathlib import Path

from evaluation.contenders.common import Clock, parser, report


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    made = parser(__doc__)
    made.add_argument("--model", type=Path, required=True)
    arguments = made.parse_args()
    threads = os.cpu_count() or 1
    os.environ["nnUNet_def_n_proc"] = str(threads)  # noqa: SIM112  # its own name; it would take 8
    for folder in ("raw", "preprocessed", "results"):  # it complains without them, and uses none to predict
        os.environ.setdefault(f"nnUNet_{folder}", str(arguments.outputs))
    with clock.timed("import"):
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    torch.set_num_threads(threads)
    with clock.timed("load"):
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(arguments.model), use_folds=(0,))
    with clock.timed("predict"):
        target = arguments.outputs / arguments.scan.name.replace("_0000.nii.gz", "")
        predictor.predict_from_files_sequential([[str(arguments.scan)]], [str(target)])
    report(clock, sum(weight.numel() for weight in predictor.network.parameters()))


if __name__ == "__main__":
    main()
