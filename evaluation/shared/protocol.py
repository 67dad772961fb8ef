"""Protocol: the challenge's rules to the constant, from its organisers' public evaluation code (FLARE 2022 to 2024).

The one place for them; the modules beside it apply them. github.com/JunMa11/FLARE, folder FLARE24:
T2andT3_FLARE24_DSC_NSD_Eval.py, Efficiency.py, load_json.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structure:
    """What is scored. labelled_slices: only between the first and the last axial slice that the truth marks."""

    label: int
    name: str
    tolerance_mm: float
    labelled_slices: bool = False


TOLERANCES_MM = {  # surface distances that count as none
    "liver": 5,
    "right_kidney": 3,
    "spleen": 3,
    "pancreas": 5,
    "aorta": 2,
    "inferior_vena_cava": 2,
    "right_adrenal_gland": 2,
    "left_adrenal_gland": 2,
    "gallbladder": 2,
    "esophagus": 3,
    "stomach": 5,
    "duodenum": 7,
    "left_kidney": 3,
}
LABELLED_SLICES = {"aorta", "inferior_vena_cava", "esophagus"}  # where a reader stops marking them is arbitrary
ORGANS = tuple(TOLERANCES_MM)  # in the order of their ids, which begin with 1
STRUCTURES = tuple(
    Structure(label, name, TOLERANCES_MM[name], name in LABELLED_SLICES) for label, name in enumerate(ORGANS, 1)
)
LESION = Structure(14, "lesion", 2)  # FLARE 2023 alone; no part of the mean over organs
LEAST_DSC = 0.2  # below it the NSD is not computed and counts 0 (0.1 in FLARE23_DSC_NSD_Eval.py)
DECIMALS = 4  # of every single score, before any mean

SAMPLE_SECONDS = 0.1
MEMORY = "8G"
MEGABYTE = 2**20  # bytes, in their tables
CONTAINER_COMMAND = ("/bin/bash", "-c", "sh predict.sh")
INPUTS, OUTPUTS = "/workspace/inputs/", "/workspace/outputs/"
EFFICIENCY_COLUMNS = (
    "Name",
    "Time",  # s
    "MaxGPU_Mem",  # MB
    "AUC_GPU_Time",  # MB s
    "MaxCPU_Utilization",  # percent of all CPUs
    "AUC_CPU_Time",  # percent s
    "MaxRAM",  # MB
    "AUC_RAM_Time",  # MB s
)
