"""Protocol: the challenge's rules to the constant, from its organisers' public evaluation code (FLARE 2022 to 2024).

The one place for them; the modules beside it apply them and hold none.
"""

from dataclasses import dataclass

from app.labels import ORGANS


@dataclass(frozen=True, slots=True)
class Structure:
    """What is scored. labelled_slices: only between the first and the last axial slice that the truth marks."""

    label: int
    name: str
    tolerance_mm: float
    labelled_slices: bool = False


TOLERANCES_MM = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3)  # surface distances that count as none, by label from 1
LABELLED_SLICES = (5, 6, 10)  # aorta, inferior vena cava, esophagus: where a reader stops marking them is arbitrary
STRUCTURES = tuple(
    Structure(label, name, tolerance, label in LABELLED_SLICES)
    for label, (name, tolerance) in enumerate(zip(ORGANS, TOLERANCES_MM, strict=True), 1)
)
LESION = Structure(14, "lesion", 2)  # FLARE 2023 alone; no part of the mean over organs
LEAST_DSC = 0.2  # below it the NSD is not computed and counts 0 (0.1 in FLARE 2023's script)
DECIMALS = 4  # of every single score, before any mean

SAMPLE_SECONDS = 0.1
MEMORY = "8G"
CONTAINER_COMMAND = ("/bin/bash", "-c", "sh predict.sh")
INPUTS, OUTPUTS = "/workspace/inputs/", "/workspace/outputs/"
EFFICIENCY_COLUMNS = (
    "Name",
    "Time",  # s
    "MaxGPU_Mem",  # MB, 2**20 bytes
    "AUC_GPU_Time",  # MB s
    "MaxCPU_Utilization",  # percent of all CPUs
    "AUC_CPU_Time",  # percent s
    "MaxRAM",  # MB
    "AUC_RAM_Time",  # MB s
)
SCAN_SUFFIX, MASK_SUFFIX = "_0000.nii.gz", ".nii.gz"
