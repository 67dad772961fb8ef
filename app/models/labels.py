"""Labels: the 13 organs of the challenge, in the order of their ids 1..13; 0 is background."""

ORGANS = (
    "liver",
    "right_kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior_vena_cava",
    "right_adrenal_gland",
    "left_adrenal_gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left_kidney",
)
CLASSES = ("background", *ORGANS)
