import pytest

from evaluation.shared.protocol import LESION, STRUCTURES


@pytest.mark.parametrize(
    ("label", "name", "tolerance_mm", "labelled_slices"),
    [
        (1, "liver", 5, False),
        (2, "right_kidney", 3, False),
        (3, "spleen", 3, False),
        (4, "pancreas", 5, False),
        (5, "aorta", 2, True),
        (6, "inferior_vena_cava", 2, True),
        (7, "right_adrenal_gland", 2, False),
        (8, "left_adrenal_gland", 2, False),
        (9, "gallbladder", 2, False),
        (10, "esophagus", 3, True),
        (11, "stomach", 5, False),
        (12, "duodenum", 7, False),
        (13, "left_kidney", 3, False),
    ],
)
def test_the_table_of_the_protocol(label, name, tolerance_mm, labelled_slices):
    structure = STRUCTURES[label - 1]
    assert (structure.label, structure.name) == (label, name)
    assert (structure.tolerance_mm, structure.labelled_slices) == (tolerance_mm, labelled_slices)


def test_nothing_else_is_scored():
    assert len(STRUCTURES) == 13
    assert (LESION.label, LESION.tolerance_mm, LESION.labelled_slices) == (14, 2, False)
