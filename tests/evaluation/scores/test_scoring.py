import math
import time

import nibabel as nib
import numpy as np
import pytest
import surface_distance
from scipy import ndimage

from app.errors import VisceraError
from evaluation.scores.scoring import NO_PREDICTION, Pair, score_folders, score_pair, score_structure
from evaluation.shared.masks import open_mask, read_labels
from evaluation.shared.protocol import LESION, STRUCTURES
from tests.files import lps_affine, save_nifti
from tests.shared import SHARED, needs_cases

LIVER, SPLEEN, AORTA, ESOPHAGUS = (STRUCTURES[label - 1] for label in (1, 3, 5, 10))
SPACING = (1.0, 1.0, 5.0)


def labelled(label, *slices, shape=(6, 6, 8)):
    """Two by two voxels of `label` in each of these slices."""
    volume = np.zeros(shape, np.uint8)
    volume[2:4, 2:4, list(slices)] = label
    return volume


def mask(*slices):
    return labelled(1, *slices) > 0


@pytest.mark.parametrize(
    ("structure", "truth", "prediction", "expected"),
    [
        pytest.param(LIVER, (), (), (1, 1, "absent from both"), id="absent from both"),
        pytest.param(LIVER, (), (3,), (0, 0, "absent from the truth"), id="invented"),
        pytest.param(LIVER, (3,), (), (0, 0, "missed"), id="missed"),
        pytest.param(LIVER, (2, 3), (2, 3), (1, 1, ""), id="equal"),
        pytest.param(LIVER, (2, 3), (2, 3, 4), (0.8, 1, ""), id="a slice of 5 mm more, within the liver's tolerance"),
        pytest.param(SPLEEN, (2, 3), (2, 3, 4), (0.8, 0.9086, ""), id="the same, not within the spleen's"),
        pytest.param(LIVER, (0, 1, 2, 3, 4), (4, 5, 6, 7), (0.2222, None, ""), id="one slice in common"),
        pytest.param(LIVER, (0, 1, 2, 3, 4), (4, 5, 6, 7, 0), (0.4, None, ""), id="two in common"),
        pytest.param(LIVER, range(8), (0,), (0.2222, None, ""), id="2 of 9"),
        pytest.param(AORTA, (2, 3, 4, 5), range(8), (1, 1, ""), id="an aorta beyond the truth's slices"),
        pytest.param(AORTA, (2, 3, 4, 5), (2, 3, 4), (1, 1, ""), id="the last slice is left out"),
        pytest.param(AORTA, (2, 3, 4, 5), (5, 6), (0, 0, "DSC below 0.2: NSD 0"), id="in the last slice alone"),
        pytest.param(AORTA, (2, 3, 4, 5), (6, 7), (0, 0, "DSC below 0.2: NSD 0"), id="beyond the truth's slices alone"),
        pytest.param(ESOPHAGUS, (0, 7), (0, 1), (0.6667, None, ""), id="a gap counts as marked"),
    ],
)
def test_rules(structure, truth, prediction, expected):
    dsc, nsd, note = score_structure(mask(*truth), mask(*prediction), structure, SPACING)
    assert (dsc, note) == (expected[0], expected[2])
    if expected[1] is None:  # not 0, and no figure that paper gives quickly; test_overlap.py has two that it does
        assert 0 < nsd < 1
    else:
        assert nsd == expected[1]


def test_below_a_fifth_the_surface_counts_nothing():
    truth, prediction = np.zeros((6, 6, 8), bool), np.zeros((6, 6, 8), bool)
    truth[1:4, 1:4, :6] = True
    prediction[2, 2, :5] = True  # 5 of 54 voxels: 10 / 59, though 5 mm reach everywhere
    assert score_structure(truth, prediction, LIVER, SPACING) == (0.1695, 0, "DSC below 0.2: NSD 0")


def test_a_fifth_is_not_below_a_fifth():
    truth, prediction = np.zeros((6, 6, 8), bool), np.zeros((6, 6, 8), bool)
    truth[:3, :3, 0] = True
    prediction[0, 0, 0] = True  # 1 of 9 voxels: 2 / 10
    dsc, nsd, note = score_structure(truth, prediction, LIVER, SPACING)
    assert (dsc, note) == (0.2, "")
    assert nsd > 0


def test_the_last_slice_on_request():
    truth, prediction = mask(2, 3, 4, 5), mask(2, 3, 4)
    assert score_structure(truth, prediction, AORTA, SPACING, last_slice=True)[0] == 0.8571  # 2 x 3 / 7


def test_an_aorta_of_one_slice_leaves_nothing_to_score():
    one = mask(3)
    dsc, nsd, note = score_structure(one, one, AORTA, SPACING)
    assert math.isnan(dsc)
    assert math.isnan(nsd)
    assert note == "one slice of truth: nothing left to score"
    assert score_structure(one, one, AORTA, SPACING, last_slice=True) == (1, 1, "")
    assert score_structure(one, mask(), AORTA, SPACING)[:2] == (0, 0)  # absent from one comes first


def organisers_way(truth, prediction, spacing):
    """Every organ with the library alone, over whole volumes, in the order of the organisers' script."""
    scores = []
    for structure in STRUCTURES:
        ours, theirs = prediction == structure.label, truth == structure.label
        if not theirs.any() or not ours.any():
            scores.append((1.0, 1.0) if theirs.any() == ours.any() else (0.0, 0.0))
            continue
        if structure.labelled_slices:
            marked = np.where(theirs)[2]
            theirs, ours = (mask[:, :, marked.min() : marked.max()] for mask in (theirs, ours))
        dsc = float(surface_distance.compute_dice_coefficient(theirs, ours))
        distances = surface_distance.compute_surface_distances(theirs, ours, spacing)
        nsd = surface_distance.compute_surface_dice_at_tolerance(distances, structure.tolerance_mm)
        scores.append((round(dsc, 4), round(float(nsd), 4) if dsc >= 0.2 else 0.0))
    return scores


def our_way(truth, prediction, spacing):
    pairs = ((structure, truth == structure.label, prediction == structure.label) for structure in STRUCTURES)
    return [score_structure(marked, predicted, structure, spacing)[:2] for structure, marked, predicted in pairs]


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_library_on_random_organs(seed):
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.normal(size=(14, 40, 36, 24)), (0, 3, 3, 3))
    truth = fields.argmax(0).astype(np.uint8)
    prediction = (fields + 0.3 * fields.std() * random.normal(size=fields.shape)).argmax(0).astype(np.uint8)
    prediction[prediction == seed + 1] = 0  # one is missed
    spacing = (0.7, 0.8, 2.5)
    ours = our_way(truth, prediction, spacing)
    assert ours == organisers_way(truth, prediction, spacing)
    assert len(set(ours)) > 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@needs_cases
@pytest.mark.parametrize("case", ["chaos_3", "hcc_006", "ircad_01", "ircad_19", "lidc_0001"])
def test_equals_the_library_on_real_masks(case):
    """Against itself moved by a few voxels, which no organ survives unharmed."""
    path = SHARED / "data" / "val" / f"{case}.nii.gz"
    truth, spacing = read_labels(open_mask(path)), nib.load(path).header.get_zooms()
    prediction = np.roll(truth, (2, 1, 1), (0, 1, 2))
    assert our_way(truth, prediction, spacing) == organisers_way(truth, prediction, spacing)


def masks(folder, **cases):
    folder.mkdir()
    for name, volume in cases.items():
        save_nifti(folder / f"{name}.nii.gz", volume, lps_affine(SPACING))
    return folder


def test_folders(tmp_path):
    truth = masks(tmp_path / "t", a=labelled(1, 2, 3), b=labelled(3, 1, 2), a_0000=labelled(9, 1))
    ours = masks(tmp_path / "p", a=labelled(1, 2, 3, 4), c=labelled(1, 2))
    scores, warnings = score_folders(truth, ours)
    by_place = {(score.case, score.structure.label): score for score in scores}
    assert len(scores) == 2 * 13
    assert (by_place["a", 1].dsc, by_place["a", 1].in_truth) == (0.8, True)
    assert (by_place["a", 2].dsc, by_place["a", 2].in_truth) == (1, False)
    assert {(score.dsc, score.nsd, score.note) for score in scores if score.case == "b"} == {(0, 0, NO_PREDICTION)}
    assert [score.structure.label for score in scores if score.case == "b" and score.in_truth] == [3]
    assert warnings == [
        f"b: no prediction {ours / 'b.nii.gz'}, counted as 0",
        "c.nii.gz: a prediction without truth, not scored",
    ]


def test_what_is_invented_is_measured(tmp_path):
    truth = masks(tmp_path / "t", a=labelled(1, 2))
    invented = labelled(1, 2)
    invented[:, :, 4:] = 9
    file = open_mask(masks(tmp_path / "p", a=invented) / "a.nii.gz")
    scores, warnings = score_pair(Pair(open_mask(truth / "a.nii.gz"), file), STRUCTURES)
    assert scores[8].note == "absent from the truth, 0.7 ml predicted"  # 6 x 6 x 4 voxels of 5 mm³
    assert scores[0].dsc == 1
    assert warnings == []


def test_labels_that_are_not_scored_are_named(tmp_path):
    truth = open_mask(masks(tmp_path / "t", a=labelled(14, 1)) / "a.nii.gz")
    other = open_mask(masks(tmp_path / "p", a=labelled(77, 1)) / "a.nii.gz")
    _, warnings = score_pair(Pair(truth, other), STRUCTURES)
    assert warnings == [
        "a: the truth holds labels that are not scored: 14; --lesion scores it",
        "a: the prediction holds labels that are not scored: 77",
    ]
    assert score_pair(Pair(truth, truth), [LESION])[1] == []


def test_a_truth_that_marks_one_organ_only_is_suspected(tmp_path):
    whole = np.tile(np.arange(13, dtype=np.uint8) % 7, (6, 6, 1))
    truth, ours = masks(tmp_path / "t", a=labelled(1, 1, shape=(6, 6, 13))), masks(tmp_path / "p", a=whole)
    _, warnings = score_folders(truth, ours)
    assert warnings == ["a: 5 organs are predicted that its truth lacks; if it does not mark them: --labels"]
    assert score_folders(truth, ours, [LIVER])[1] == []


def test_a_mask_without_gzip_is_pointed_at(tmp_path):
    truth = masks(tmp_path / "t", a=labelled(1, 2))
    (tmp_path / "p").mkdir()
    save_nifti(tmp_path / "p" / "a.nii", labelled(1, 2), lps_affine(SPACING))
    _, (warning, none_at_all) = score_folders(truth, tmp_path / "p")
    assert "holds no prediction at all" in none_at_all
    assert warning.endswith("counted as 0; a.nii is there, but the organisers look for a.nii.gz")


def test_every_wrong_shape_is_named_before_anything_is_scored(tmp_path):
    truth = masks(tmp_path / "t", a=labelled(1, 2), b=labelled(1, 2))
    ours = masks(tmp_path / "p", a=labelled(1, 2, shape=(6, 6, 9)), b=labelled(1, 2, shape=(5, 6, 8)))
    with pytest.raises(VisceraError) as caught:
        score_folders(truth, ours)
    assert "a.nii.gz: shape (6, 6, 9), the truth's is (6, 6, 8)" in str(caught.value)
    assert "b.nii.gz: shape (5, 6, 8), the truth's is (6, 6, 8)" in str(caught.value)


def test_an_affine_that_differs_is_a_warning_in_mm(tmp_path):
    truth = masks(tmp_path / "t", a=labelled(1, 2))
    (tmp_path / "p").mkdir()
    save_nifti(tmp_path / "p" / "a.nii.gz", labelled(1, 2), lps_affine(SPACING, (100, 120, -307)))
    scores, (warning,) = score_folders(truth, tmp_path / "p")
    assert scores[0].dsc == 1  # voxel by voxel, whatever the headers say
    assert warning == ("a: the affines differ, voxels lie up to 7 mm apart; scored voxel by voxel all the same")


def test_the_lesion_is_one_more_structure():
    assert (LESION.label, LESION.tolerance_mm) == (14, 2)
    assert score_structure(mask(1, 2), mask(1, 2, 3), LESION, SPACING)[0] == 0.8


def test_no_folder_no_score(tmp_path):
    with pytest.raises(VisceraError, match="no masks"):
        score_folders(tmp_path, tmp_path)
    truth = masks(tmp_path / "t", a=labelled(1, 2))
    with pytest.raises(VisceraError, match="no such folder"):
        score_folders(truth, tmp_path / "p")


@pytest.mark.slow
@needs_cases
def test_thirteen_organs_of_a_full_scan_in_less_than_20_seconds():
    """CPU seconds: what else runs on the machine is not the code's. A real mask, stretched to 512 x 512 x 160."""
    labels = read_labels(open_mask(SHARED / "cases" / "reference" / "hcc_006.nii.gz"))
    truth = ndimage.zoom(labels, (1, 1, 160 / labels.shape[2]), order=0)
    prediction = np.roll(truth, (3, 2, 1), (0, 1, 2))
    assert truth.shape == (512, 512, 160)
    prediction[:2, :2, :2] = prediction[-2:, -2:, -2:] = 1  # strays, as raw output has them
    start = time.process_time()
    scores = our_way(truth, prediction, (0.78, 0.78, 1.7))
    assert time.process_time() - start < 20
    assert all(0.3 < dsc < 1 for dsc, _ in scores)
