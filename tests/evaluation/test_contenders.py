import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.system.definition import WEIGHTS
from evaluation.benchmark.boxes import box_scan
from evaluation.benchmark.rounds import steps_of
from evaluation.efficiency.timing import DONE, process_timer, workspace
from tests.shared import CASES, needs_cases

PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".contenders" / "bin" / "python"


@pytest.mark.slow
@needs_cases
def test_contenders_run_the_same_network(tmp_path):
    """With one window over the whole box all of them say nearly the same."""
    if not PYTHON.exists():
        pytest.skip("no contenders here: sh scripts/contenders makes their environment")
    case = box_scan(CASES / "hcc_006_0000.nii.gz", tmp_path / "box")
    bundle, onnx = WEIGHTS / "fine", tmp_path / "fine.onnx"
    window = ["112", "112", "144"]
    command = [PYTHON, "-m", "evaluation.contenders.to_onnx", bundle, onnx]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)  # compares the networks' scores itself
    options = {
        "steps-float32": ["steps", "--engine", "openvino-float32"],
        "steps-onnx": ["steps", "--engine", "onnxruntime", "--onnx", onnx],
        "torch and MONAI": ["reference", "--window", *window],
        "nnunetv2": ["nnunet", "--window", *window],
    }
    masks = {}
    for name, (module, *rest) in options.items():
        start = [PYTHON, "-m", f"evaluation.contenders.{module}"]
        words = ["--bundle", bundle, *rest]
        timer = process_timer(lambda scan, place, start=start, words=words: [*start, scan, place.outputs, *words], name)
        with workspace(tmp_path) as place:
            timed = timer(case.boxed, place)
            assert timed.status == DONE, timed.note
            assert steps_of(place.log)
            masks[name] = np.asarray(nib.load(place.outputs / "hcc_006.nii.gz").dataobj)
    reference = masks.pop("steps-float32")
    # ONNX Runtime runs in our windows: that it is the same network shows there. MONAI and nnU-Net fill the volume up at
    # both ends, ours at one, and nnU-Net resamples with splines
    for name, least in (("steps-onnx", 0.999), ("torch and MONAI", 0.95), ("nnunetv2", 0.9)):
        both = np.count_nonzero((masks[name] == reference) & (reference > 0))
        assert 2 * both / (np.count_nonzero(masks[name]) + np.count_nonzero(reference)) > least, name
