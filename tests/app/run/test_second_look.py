"""Of made-up bodies: a large liver on the right, a bright spleen on the left, further up and to the front."""

from dataclasses import replace
from itertools import permutations, product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from app.files.orientation import Orientation
from app.grid import Grid
from app.models.bundle import Resampling
from app.models.engine import Model
from app.run import second_look
from app.run.outcome import Outcome
from app.run.pipeline import run_case
from app.run.second_look import better_turns, doubts, said_of
from app.run.view import View, turned
from app.steps.doubt import THINNED, Evidence
from app.system.definition import Doubt, Posture, load_system
from tests.files import lps_affine, save_nifti
from tests.models import FINE, LOCALISER, known_models, nothing, tissue_is_liver

DOUBT = Doubt(
    first="locate",
    min_agreement=0.8,
    min_lead=1,
    min_arrangement=0.9,
    right_of=(("liver", "spleen"),),
    below=(("liver", "spleen"),),
    before=(("spleen", "liver"),),
)
SYSTEM = replace(load_system("viscera"), doubt=DOUBT, posture=Posture())
WAYS = {
    "straight": (slice(None),) * 3,
    "mirrored": (slice(None, None, -1), slice(None), slice(None)),
    "front is back": (slice(None), slice(None, None, -1), slice(None)),
    "upside down": (slice(None), slice(None), slice(None, None, -1)),
    "diagonal": (slice(None, None, -1), slice(None, None, -1), slice(None)),
}


def body():
    """x to the left, y to the back, z to the head."""
    voxels = np.full((48, 48, 32), -1000, np.int16)
    voxels[4:24, 18:42, 4:20] = 40  # liver
    voxels[30:42, 6:20, 18:28] = 1500  # spleen
    return voxels


def run(tmp_path, voxels, system=SYSTEM, models=None, memory_limit=None):
    source = save_nifti(tmp_path / "a_0000.nii.gz", voxels, lps_affine((4, 4, 4)))
    outcome = Outcome()
    run_case(
        source, tmp_path / "a.nii.gz", system, lambda: models or known_models(), outcome,
        threads=1, memory_limit=memory_limit,
    )  # fmt: skip
    return np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), outcome


def codes(outcome):
    return [(notice.code, str(notice.verdict)) for notice in outcome.warnings]


def test_nothing_is_said_of_a_body_as_its_header_has_it(tmp_path):
    mask, outcome = run(tmp_path, body())
    assert codes(outcome) == []
    assert set(np.unique(mask)) == {0, 1, 3}
    assert "doubt" in outcome.seconds
    assert outcome.evidence.voxel_mm == 12  # 192 mm in 16 of phase one
    assert outcome.evidence.agreement > 0.8
    assert outcome.evidence.arrangement == 1


@pytest.mark.parametrize(
    ("way", "code"),
    [("mirrored", "mirrored"), ("front is back", "turned"), ("upside down", "turned"), ("diagonal", "turned")],
)
def test_a_body_that_lies_otherwise_is_segmented_as_it_lies(tmp_path, way, code):
    straight, usual = run(tmp_path, body())
    mask, outcome = run(tmp_path, body()[WAYS[way]])
    assert codes(outcome) == [(code, "check")]
    assert (mask == straight[WAYS[way]]).mean() > 0.995  # in the file's own order
    x, y, z = (slice(*span) for span in outcome.scan.orientation.box_in_file(outcome.box, outcome.scan.grid))
    assert mask[x, y, z].sum() == mask.sum()
    assert outcome.volume_ml["liver"] == pytest.approx(usual.volume_ml["liver"], rel=0.02)
    assert outcome.evidence.arrangement == 1  # of the mask that was written


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_way_to_lie_is_looked_at(axes):
    """A network that sees something in the body upright alone finds it, however it was turned before."""
    voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    upright = View(voxels, Grid((4, 5, 6), (1.0, 1.0, 1.0)), lambda labels: labels, lambda box: box)

    def look(seen, _):
        sees = seen.shape == voxels.shape and (seen == voxels).all()
        labels = np.full(seen.shape, int(sees), np.uint8)
        return SimpleNamespace(labels=labels, scores=np.stack([1 - labels, labels]).astype(np.float32), score_unit=1.0)

    for flips in product((False, True), repeat=3):
        lying = turned(upright, Orientation(axes, flips))
        found = list(better_turns(lying, look, DOUBT, ("background", "liver", "spleen")))
        if (axes, flips) == ((0, 1, 2), (False, False, False)):
            assert found == []
        else:
            ((_, view),) = found
            assert (view.voxels == voxels).all()


def test_a_system_may_only_say_so(tmp_path):
    straight, _ = run(tmp_path, body())
    mask, outcome = run(tmp_path, body()[WAYS["mirrored"]], replace(SYSTEM, doubt=replace(DOUBT, turns=False)))
    assert codes(outcome) == [("mirrored", "unusable")]
    assert outcome.evidence.arrangement < 0.9  # of the mask that was written
    assert (mask == straight[::-1]).mean() > 0.99  # these networks see voxels alone


def test_without_doubt_in_its_file_a_system_believes_everything(tmp_path):
    _, outcome = run(tmp_path, body()[WAYS["mirrored"]], replace(SYSTEM, doubt=None))
    assert codes(outcome) == []
    assert outcome.evidence is None


def test_a_way_to_lie_that_does_not_fit_into_memory_is_said(tmp_path):
    """As it lies: a scan of 2 bytes a voxel and its mask, 700 MB of models, 32 x 64 x 96 fine voxels of 80 bytes.

    Turned over, its mask as it lies is held, too.
    """
    abdomen = SYSTEM.region["abdomen"]
    whole = replace(SYSTEM, region={"abdomen": replace(abdomen, rule=replace(abdomen.rule, at_least_mm=(200.0,) * 3))})
    mirrored, voxels = body()[WAYS["mirrored"]], 48 * 48 * 32
    as_it_lies = voxels * 3 + (700 << 20) + 32 * 64 * 96 * 80
    _, outcome = run(tmp_path, mirrored, whole, memory_limit=as_it_lies + voxels - 1)
    assert codes(outcome) == [("arrangement", "unusable"), ("not-turned", "check")]
    _, outcome = run(tmp_path, mirrored, whole, memory_limit=as_it_lies + voxels)
    assert codes(outcome) == [("mirrored", "check")]


def test_a_look_that_does_not_fit_into_memory_is_said_too(tmp_path):
    """Phase one clips, in 8 bytes a voxel, beside 2 of the scan and 1 of the mask. Amid air phase two needs less."""
    models = known_models()
    clipping = replace(models["locate"].bundle, resampling=Resampling("clip-resample-normalise"))
    models |= {"locate": replace(models["locate"], bundle=clipping)}
    mirrored = np.pad(body(), 60, constant_values=-1000)[WAYS["mirrored"]]
    as_it_lies = mirrored.size * 11 + (700 << 20)
    _, outcome = run(tmp_path, mirrored, models=models, memory_limit=as_it_lies + mirrored.size - 1)
    assert codes(outcome)[-1] == ("not-turned", "check")
    _, outcome = run(tmp_path, mirrored, models=models, memory_limit=as_it_lies + mirrored.size)
    assert ("not-turned", "check") not in codes(outcome)


def test_stages_that_disagree_are_not_believed(tmp_path):
    def liver_is_spleen(volume):
        scores = tissue_is_liver(FINE)(volume)
        scores[[1, 3]] = scores[[3, 1]]
        return scores

    models = known_models() | {"segment": Model(FINE, liver_is_spleen)}
    _, outcome = run(tmp_path, body(), replace(SYSTEM, doubt=replace(DOUBT, right_of=(), below=(), before=())), models)
    assert codes(outcome) == [("stages-disagree", "unusable")]


def test_a_first_stage_that_located_nothing_has_no_say_of_the_mask(tmp_path):
    models = known_models() | {"locate": Model(LOCALISER, nothing)}
    mask, outcome = run(tmp_path, body(), models=models)
    assert codes(outcome) == [("not-located", "check")]
    assert mask.any()
    assert outcome.evidence.agreement is None


def test_a_way_to_lie_in_which_nothing_is_found_is_not_taken(tmp_path):
    """Phase one finds more in the mirrored body, phase two nothing there."""
    straight = body()[WAYS["mirrored"]]
    fine = tissue_is_liver(FINE)

    def only_on_the_left(volume):
        scores = fine(volume)
        half = volume.shape[2] // 2
        return scores if (scores[1, :, :, half:] > 0).sum() > (scores[1, :, :, :half] > 0).sum() else nothing(volume)

    models = known_models() | {"segment": Model(FINE, only_on_the_left)}
    _, outcome = run(tmp_path, straight, models=models)
    assert "mirrored" not in [code for code, _ in codes(outcome)]


def test_a_way_to_lie_in_which_nothing_is_located_is_not_taken(tmp_path):
    """Phase one sees too little of the body for a box, and that only where the liver is on the right."""
    answers = tissue_is_liver(LOCALISER)

    def specks(volume):
        scores = answers(volume)
        liver, spleen = (np.argwhere(scores.argmax(0) == organ) for organ in (1, 3))
        kept = np.zeros(volume.shape, bool)
        if len(liver) and len(spleen) and liver[:, 2].mean() < spleen[:, 2].mean():
            kept[tuple(liver[(liver % THINNED == 0).all(1)][0])] = True
        scores[1:, ~kept] = -1e4
        return scores

    models = known_models() | {"locate": Model(LOCALISER, specks)}
    _, straight = run(tmp_path, body(), models=models)
    assert codes(straight) == [("not-located", "check")]
    _, outcome = run(tmp_path, body()[WAYS["mirrored"]], models=models)
    assert codes(outcome) == [("not-located", "check"), ("arrangement", "unusable")]


def test_an_empty_mask_is_said_once(tmp_path):
    models = {"locate": Model(LOCALISER, nothing), "segment": Model(FINE, nothing)}
    _, outcome = run(tmp_path, body(), models=models)
    assert codes(outcome) == [("not-located", "check"), ("empty", "check")]


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(3, 0.8, 1, 0.9), []),
        (Evidence(3, 0.79, 1, 0.9), [("stages-disagree", "check")]),
        (Evidence(3, 0.39, 1, 0.9), [("stages-disagree", "unusable")]),
        (Evidence(3, None, 1, 0.9), []),
        (Evidence(3, None, 0.9, 0.9), [("unsure", "unusable")]),
        (Evidence(3, 0.8, 0.9, 0.9), [("unsure", "check")]),
        (Evidence(3, 0.8, 1, 0.89), [("arrangement", "unusable")]),
        (Evidence(3, 0, 0, 0), [("stages-disagree", "unusable"), ("unsure", "check"), ("arrangement", "unusable")]),
    ],
)
def test_each_doubt_has_its_limit(evidence, expected):
    assert [(notice.code, str(notice.verdict)) for notice in doubts(evidence, DOUBT)] == expected


@pytest.mark.parametrize(
    ("voxel_mm", "agreement", "doubted"),
    [(3, 0.8, False), (4, 0.79, False), (4, 0.77, True), (50, 0.7, False), (50, 0.5, True)],
)
def test_less_agreement_is_asked_for_where_the_first_stage_sees_coarsely(voxel_mm, agreement, doubted):
    doubt = replace(DOUBT, fine_mm=3, less_per_mm=0.02, least_agreement=0.6)
    assert bool(doubts(Evidence(voxel_mm, agreement, 1, 1), doubt)) == doubted


def test_a_large_scan_is_looked_at_thinned_and_turned_itself(monkeypatch):
    monkeypatch.setattr(second_look, "LOOKED_AT", 4)
    voxels = np.arange(9 * 5 * 4).reshape(9, 5, 4)
    view = View(voxels, Grid((9, 5, 4), (1.0, 2.0, 3.0)), lambda labels: labels, lambda box: box)
    shapes = []

    def look(seen, grid):
        assert grid.shape == seen.shape
        shapes.append(seen.shape)
        labels = np.full(seen.shape, int(seen[0, 0, 0] == voxels[8, 0, 0]), np.uint8)
        return SimpleNamespace(labels=labels, scores=np.stack([1 - labels, labels]).astype(np.float32), score_unit=1.0)

    (turn, turned_view), *_ = better_turns(view, look, DOUBT, ("background", "liver", "spleen"))
    assert turn == Orientation((0, 1, 2), (True, False, False))
    assert {tuple(sorted(shape)) for shape in shapes} == {(4, 5, 5)}  # of 9 slices every second
    assert (turned_view.voxels == voxels[::-1]).all()


@pytest.mark.parametrize(
    ("axes", "flipped", "words"),
    [
        ((0, 1, 2), (True, False, False), "(head and feet are exchanged)"),
        ((0, 1, 2), (False, True, True), "(front and back and left and right are exchanged)"),
        ((0, 2, 1), (False, False, False), "(its axes are exchanged)"),
        ((0, 1, 2), (False, False, True), "situs inversus"),
    ],
)
def test_how_a_body_lies_is_said_in_words(axes, flipped, words):
    assert words in said_of(Orientation(axes, flipped), is_segmented=True).text
    assert "do not use the mask" in said_of(Orientation(axes, flipped), is_segmented=False).text
