import json
import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.testing import assert_array_equal

from app.errors import CaseError, SetupError
from app.grid import Box, whole
from app.models.bundle import ENGINES, Resampling
from app.models.engine import Model
from app.run import pipeline
from app.run.outcome import Outcome
from app.run.pipeline import load_models, run_case
from app.system.definition import Merge, Posture, Region, Result, Stage, load_system
from app.system.rules import EveryWindow, Fallback, LabelRange, LargeParts, Locating, Overlay, UntilOrgan
from tests.files import body_phantom, lps_affine, save_nifti, texts
from tests.models import FINE, LOCALISER, known_models, nothing, table_of, tissue_is_liver

SYSTEM = replace(load_system("viscera"), doubt=None, posture=Posture())  # those have tests of their own
SPACING = (3.0, 2.0, 4.0)  # x, y, z mm


def run(tmp_path, voxels, models=None, affine=None, system=SYSTEM, memory_limit=None):
    source = save_nifti(tmp_path / "a_0000.nii.gz", voxels, affine if affine is not None else lps_affine(SPACING))
    outcome = Outcome()
    run_case(
        source, tmp_path / "a.nii.gz", system, lambda: models or known_models(), outcome,
        threads=2, memory_limit=memory_limit,
    )  # fmt: skip
    return np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), outcome


def everything_is_liver(volume):
    scores = nothing(volume)
    scores[1] = 2
    return scores


def large_parts(share):
    stage = replace(SYSTEM.stage["segment"], clean=(LargeParts(share), *SYSTEM.stage["segment"].clean[1:]))
    return replace(SYSTEM, stage={**SYSTEM.stage, "segment": stage})


def test_the_mask_is_where_the_tissue_is(tmp_path):
    voxels = body_phantom((60, 80, 40))
    mask, outcome = run(tmp_path, voxels)
    body = voxels > 0
    overlap = 2 * (body & (mask == 1)).sum() / (body.sum() + (mask == 1).sum())
    assert overlap > 0.97  # all but the interpolated surface
    assert set(np.unique(mask)) == {0, 1}
    assert outcome.warnings == []
    assert outcome.volume_ml["liver"] == pytest.approx((mask == 1).sum() * 0.024)
    assert outcome.volume_ml["spleen"] == 0
    assert list(outcome.seconds) == [
        "read", "upright", "load",
        "locate.crop", "locate.resample", "locate.normalise", "locate.network", "locate.clean", "abdomen",
        "segment.crop", "segment.resample", "segment.normalise", "segment.network", "segment.clean",
        "restore", "write",
    ]  # fmt: skip


def test_every_orientation_gives_the_same_mask(tmp_path):
    voxels = body_phantom((60, 80, 40))
    voxels[:20, :30, :10] = 900  # bone in one corner, so that a flip shows
    plain, _ = run(tmp_path, voxels)
    affine = lps_affine(SPACING)
    turned = affine[:, [2, 0, 1, 3]] * [-1, 1, -1, 1]
    mask, _ = run(tmp_path, voxels.transpose(2, 0, 1)[::-1, :, ::-1], affine=turned)
    assert (plain == 3).any()
    assert (mask[::-1, :, ::-1].transpose(1, 2, 0) == plain).all()


def test_nothing_located_means_the_whole_volume(tmp_path):
    mask, outcome = run(tmp_path, body_phantom(), known_models(localiser=nothing))
    assert outcome.box is None
    assert (mask == 1).any()
    assert texts(outcome.warnings) == ["locate found no organ for abdomen; the whole volume is processed"]


def test_what_phase_one_saw_nothing_of_must_be_large(tmp_path):
    voxels = np.full((60, 80, 40), -1000, np.int16)
    voxels[20:30, 30:40, 10:20] = 50  # 1000 voxels of 24 mm3, 24 ml
    mask, outcome = run(tmp_path, voxels, known_models(localiser=nothing))
    assert not mask.any()
    assert outcome.warnings[-1].text == "no organ found; the mask is empty"
    located, _ = run(tmp_path, voxels)
    assert (located == 1).any()


def test_an_empty_result_is_an_empty_mask(tmp_path):
    mask, outcome = run(tmp_path, body_phantom(), known_models(fine=nothing))
    assert mask.dtype == np.uint8
    assert not mask.any()
    assert texts(outcome.warnings) == ["no organ found; the mask is empty"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (300, 1, 2), (33, 34, 35)])
def test_any_shape(tmp_path, shape):
    mask, outcome = run(tmp_path, np.full(shape, 50, np.int16) - np.arange(shape[0], dtype=np.int16)[:, None, None])
    assert mask.shape == shape
    assert outcome.seconds["write"] > 0


def test_what_was_found_before_a_failure_is_kept(tmp_path):
    def broken(_):
        raise RuntimeError("out of memory")

    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), lps_affine(SPACING))
    outcome = Outcome()
    with pytest.raises(RuntimeError):
        run_case(source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(fine=broken), outcome, threads=1)
    assert outcome.scan is not None
    assert outcome.box is not None
    assert "segment.network" in outcome.seconds
    assert not (tmp_path / "m.nii.gz").exists()


def test_a_wide_slice_is_refused_for_the_window_that_it_is_filled_up_to(tmp_path):
    """1 x 3500 x 5250 voxels of 4 x 3 x 2 mm are 1.4 GB with their scores; 16 slices, the window's least, 21.9."""
    source = save_nifti(tmp_path / "a.nii.gz", np.full((70, 70, 1), 50, np.int16), lps_affine((150.0, 150.0, 4.0)))
    with pytest.raises(CaseError, match=r"4 x 10500 x 10500 mm .* need 22.6 GB, more than the 8 GB"):
        run_case(
            source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(localiser=nothing), Outcome(),
            threads=1, memory_limit=8 << 30,
        )  # fmt: skip


def test_a_field_of_view_beyond_the_memory_limit_is_refused(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), lps_affine((900.0, 900.0, 900.0)))
    with pytest.raises(CaseError, match=r"27000 x 45000 x 54000 mm .* more than the 8 GB"):
        run_case(
            source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(localiser=nothing), Outcome(),
            threads=1, memory_limit=8 << 30,
        )  # fmt: skip


def test_a_field_of_view_whose_windows_cannot_even_be_counted_is_refused(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), lps_affine((1e20, 1e20, 1e20)))
    with pytest.raises(CaseError, match="more than the 8 GB allowed here; check the spacing"):
        run_case(
            source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(localiser=nothing), Outcome(),
            threads=1, memory_limit=8 << 30,
        )  # fmt: skip


def test_a_model_of_a_shape_beyond_the_memory_limit_is_refused(tmp_path):
    models = known_models()
    models["locate"] = Model(replace(LOCALISER, shape=(600, 600, 600)), nothing)
    with pytest.raises(CaseError, match=r"to segment need 16\.8 GB, more than the 8 GB"):
        run(tmp_path, body_phantom(), models, memory_limit=8 << 30)


def block():
    """x, y, z voxels of 3 x 4 x 5 mm: 48 x 32 x 32, as the localiser's 48 x 16 x 32 divide them. 69 ml of tissue."""
    voxels = np.full((48, 32, 32), -1000, np.int16)
    voxels[12:24, 8:20, 8:16] = 40
    return voxels


BLOCK_AFFINE = lps_affine((3.0, 4.0, 5.0))


def located(**choices):
    """The system with its box changed, whose margin is the same along all axes."""
    region = SYSTEM.region["abdomen"]
    rule = replace(region.rule, **{"margin_z_mm": None, **choices})
    return replace(SYSTEM, region={"abdomen": replace(region, rule=rule)})


@pytest.mark.parametrize(
    ("margin_mm", "box"),
    [
        # z 8..16 of 5 mm are 40..80, y 8..20 of 4 mm are 32..80, x 12..24 of 3 mm are 36..72
        pytest.param(0.0, Box((8, 8, 12), (16, 20, 24)), id="no margin"),
        pytest.param(20.0, Box((4, 3, 5), (20, 25, 31)), id="20..100, 12..100 and 16..92 mm, and what reaches into it"),
    ],
)
def test_the_box_is_what_phase_one_found_and_its_margin(tmp_path, margin_mm, box):
    system = located(margin_mm=margin_mm)
    mask, outcome = run(tmp_path, block(), known_models(fine=everything_is_liver), BLOCK_AFFINE, system)
    assert outcome.box == box
    expected = np.zeros((32, 32, 48), np.uint8)
    expected[box.slices] = 1  # phase two was asked for all of the box, and for nothing else
    assert (mask == expected.T).all()


@pytest.mark.parametrize(
    ("orientation", "box"),
    [
        # z 8..16 of 5 mm, y 8..20 of 4 mm and x 12..24 of 3 mm; the file's own are y, x, z
        pytest.param("file", Box((7, 7, 11), (17, 22, 26)), id="60 mm of y are 15, 45 of x 15, 50 of z 10 voxels"),
        pytest.param("patient", Box((6, 8, 10), (18, 20, 27)), id="60 mm of z are 12, 45 of y 12, 50 of x 17 voxels"),
    ],
)
def test_the_least_box_lies_along_the_axes_of_the_network_that_looks_there(tmp_path, orientation, box):
    system = located(margin_mm=0.0, at_least_mm=(60.0, 45.0, 50.0))
    models = known_models() | {"segment": Model(replace(FINE, orientation=orientation), tissue_is_liver(FINE))}
    _, outcome = run(tmp_path, block().transpose(2, 0, 1), models, BLOCK_AFFINE[:, [2, 0, 1, 3]], system)
    assert outcome.box == box


@pytest.mark.parametrize(
    ("choices", "reaches_to"),
    [
        pytest.param({}, 48, id="a second part of 8.6 ml is above 2 % of the first"),
        pytest.param({"min_component_share": 0.13}, 24, id="8.6 of 69.1 ml are below 13 %, and below 20 ml"),
        pytest.param({"min_component_share": 0.12}, 48, id="8.6 of 69.1 ml are above 12 %"),
        pytest.param({"min_component_share": 0.13, "min_component_ml": 8.6}, 48, id="they are above 8.6 ml"),
        pytest.param({"min_component_ml": 69.2}, None, id="without a part of 69.2 ml nothing was found"),
    ],
)
def test_what_counts_as_found_is_the_systems_choice(tmp_path, choices, reaches_to):
    voxels = block()
    voxels[44:48, 8:20, 8:11] = 40  # 4 x 12 x 3 voxels of 60 mm3, beyond the margin of the others
    _, outcome = run(tmp_path, voxels, affine=BLOCK_AFFINE, system=located(margin_mm=0.0, **choices))
    assert (outcome.box and outcome.box.stop[2]) == reaches_to


def test_a_dropped_part_stays_gone_where_scores_are_interpolated(tmp_path):
    """A spleen of 12 x 12 x 12 voxels, and a fleck of it that sits on the liver, where every cell is interpolated."""
    voxels = np.full((48, 40, 30), -1000, np.int16)
    voxels[4:20, 8:30, 6:24] = 40
    voxels[30:42, 8:20, 6:18] = 900
    fleck = (slice(17, 20), slice(16, 20), slice(12, 15))
    voxels[fleck] = 900
    kept, _ = run(tmp_path, voxels, system=large_parts(0.0))
    assert (kept[fleck] == 3).any()
    mask, _ = run(tmp_path, voxels, system=located(margin_mm=20.0))  # grids that meet at the spleen's faces
    assert (mask[:24] != 3).all()
    assert (mask[30:42, 8:20, 6:18] == 3).mean() > 0.9
    assert (mask[4:16, 8:30, 6:24] == 1).mean() > 0.9


def test_what_is_dropped_is_the_systems_choice(tmp_path):
    """Two parts of 12 x 12 x 8 and 6 x 12 x 8 voxels."""
    voxels = np.full((48, 32, 32), -1000, np.int16)
    voxels[10:22, 8:20, 8:16] = voxels[30:36, 8:20, 8:16] = 40
    found = {}
    for share in (0.4, 0.6):
        system = large_parts(share)
        mask, _ = run(tmp_path, voxels, affine=BLOCK_AFFINE, system=system)
        found[share] = [bool(mask[10:22].any()), bool(mask[30:36].any())]
    assert found == {0.4: [True, True], 0.6: [True, False]}


@pytest.mark.parametrize(("depth", "kept"), [(3, False), (5, True)])
def test_what_phase_one_saw_nothing_of_is_measured_in_millilitres(tmp_path, depth, kept):
    """Voxels of 3 x 2 x 6 mm, 36 mm3: 28 x 28 x 3 are 85 ml of tissue, x 5 are 141."""
    voxels = np.full((40, 40, 32), -1000, np.int16)
    voxels[6:34, 6:34, 6 : 6 + depth] = 40
    mask, _ = run(tmp_path, voxels, known_models(localiser=nothing), lps_affine((3.0, 2.0, 6.0)))
    assert bool(mask.any()) == kept


def test_volumes_are_those_of_sheared_voxels(tmp_path):
    affine = lps_affine(SPACING)
    affine[1, 2] = 3.0  # a gantry tilt: slices are 5 mm apart along their axis, 4 mm from plane to plane
    source = save_nifti(tmp_path / "a.nii.gz", body_phantom((60, 80, 40)), affine, codes=(1, 0))
    outcome = Outcome()
    run_case(source, tmp_path / "m.nii.gz", SYSTEM, known_models, outcome, threads=1)
    count = (np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj) == 1).sum()
    assert count > 1000
    assert any("off the body's axes" in warning for warning in texts(outcome.warnings))
    assert outcome.volume_ml["liver"] == pytest.approx(count * 0.024)


def test_memory_counts_the_scan_the_models_and_the_scores(tmp_path):
    """60 x 80 x 40 voxels of 2 bytes and their mask, 700 MB of models; 40 x 53 x 90 fine voxels of 80 bytes."""
    needed = 60 * 80 * 40 * 3 + (700 << 20) + 40 * 53 * 90 * 80
    models = known_models(localiser=nothing)
    run(tmp_path, body_phantom((60, 80, 40)), models, memory_limit=needed)
    with pytest.raises(CaseError, match=r"160 x 160 x 180 mm \(z, y, x\) to segment need 0.698 GB"):
        run(tmp_path, body_phantom((60, 80, 40)), models, memory_limit=needed - 1)


def test_a_scan_beyond_the_memory_limit_is_not_even_read(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), dim=[3, 2000, 2000, 1000, 1, 1, 1, 1])
    with pytest.raises(CaseError, match=r"voxels need 26\.1 GB"):
        run_case(source, tmp_path / "m", SYSTEM, known_models, Outcome(), threads=1, memory_limit=2 << 30)


def test_each_phase_is_loaded_with_its_own_choices(tmp_path, monkeypatch):
    for bundle in (LOCALISER, FINE):
        (tmp_path / f"my-{bundle.name}").mkdir()
        (tmp_path / f"my-{bundle.name}" / "bundle.json").write_text(json.dumps(table_of(bundle)))
    asked = []

    def load_engine(bundle, engine, precision, threads, *, pinned):
        asked.append((bundle.name, engine, precision, threads, pinned))
        return bundle.name

    monkeypatch.setattr(pipeline, "load_engine", load_engine)
    stages = {
        "locate": Stage("my-localiser", "openvino-int8", "f32"),
        "segment": Stage("my-fine", "openvino-float32", "bf16", sees="abdomen"),
    }
    system = replace(SYSTEM, stage=stages)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        models = load_models(system, threads=3, pinned=True, weights=tmp_path)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert set(asked) == {("localiser", "openvino-int8", "f32", 3, True), ("fine", "openvino-float32", "bf16", 3, True)}
    assert list(models) == ["locate", "segment"]
    assert (models["locate"].bundle.intensity, models["locate"].engine) == (LOCALISER.intensity, "localiser")
    assert (models["segment"].bundle.intensity, models["segment"].engine) == (FINE.intensity, "fine")
    load_models(system, threads=before, pinned=False, weights=tmp_path)
    assert [pinned for *_, pinned in asked[2:]] == [False, False]


def test_restoring_takes_the_threads_that_it_is_given(tmp_path, monkeypatch):
    asked = []
    restore = pipeline.restore

    def spy(*arguments, threads, **others):
        asked.append(threads)
        return restore(*arguments, threads=threads, **others)

    monkeypatch.setattr(pipeline, "restore", spy)
    run(tmp_path, body_phantom())
    assert asked == [2]


def test_a_region_may_be_of_a_stage_that_sees_a_region(tmp_path):
    """The second look is at the first one's box, 12 voxels along x from the scan's edge; its box is the scan's, too."""
    rule = replace(SYSTEM.region["abdomen"].rule, min_component_ml=0.0, margin_mm=0.0, margin_z_mm=None)
    fine = SYSTEM.stage["segment"]
    system = replace(
        SYSTEM,
        stage={"look": SYSTEM.stage["locate"], "closer": replace(fine, sees="a"), "segment": replace(fine, sees="b")},
        region={"a": Region("look", rule), "b": Region("closer", rule)},
    )
    voxels = np.full((48, 32, 32), -1000, np.int16)
    voxels[12:36, 8:24, 8:16] = 40
    seen = []

    def second(volume):
        seen.append(volume.shape)
        return tissue_is_liver(FINE)(volume)

    known = known_models()
    models = {"look": known["locate"], "closer": known["segment"], "segment": Model(FINE, second)}
    mask, outcome = run(tmp_path, voxels, models, BLOCK_AFFINE, system)
    plain, _ = run(tmp_path, voxels, affine=BLOCK_AFFINE)
    assert ((mask == 1) == (plain == 1)).mean() > 0.999
    assert outcome.box == Box((8, 8, 12), (16, 24, 36))
    assert len(seen) == 1


def test_a_result_may_be_of_a_stage_that_sees_the_scan(tmp_path):
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    voxels = body_phantom((60, 80, 40))
    mask, outcome = run(tmp_path, voxels, {"only": known_models()["segment"]}, system=system)
    assert outcome.box is None
    assert outcome.warnings == []
    assert ((mask == 1) == (voxels > 0)).mean() > 0.98
    assert "abdomen" not in outcome.seconds


def test_volumes_are_called_as_the_results_bundle_calls_its_labels(tmp_path):
    names = ("background", "lesion", *(f"other_{number}" for number in range(2, 14)))
    models = known_models()
    models["segment"] = Model(replace(FINE, labels=names), models["segment"].engine)
    _, outcome = run(tmp_path, body_phantom((60, 80, 40)), models)
    assert list(outcome.volume_ml) == list(names[1:])
    assert outcome.volume_ml["lesion"] > 0


def test_what_is_there_is_kept_unless_replacing_is_asked_for(tmp_path):
    source = save_nifti(tmp_path / "a_0000.nii.gz", body_phantom((20, 20, 20)), lps_affine(SPACING))
    target = tmp_path / "a.nii.gz"
    target.write_text("of somebody")
    with pytest.raises(CaseError, match="was not written by viscera"):
        run_case(source, target, SYSTEM, known_models, Outcome(), threads=1)
    assert target.read_text() == "of somebody"
    run_case(source, target, SYSTEM, known_models, Outcome(), threads=1, overwrite=True)
    assert nib.load(target).shape == (20, 20, 20)


def test_what_a_model_of_a_fixed_shape_needs_is_part_of_what_models_need(tmp_path):
    """2 MB of scan, mask and scores around 700 MB of models; 64 x 64 x 64 voxels of 80 bytes are not added."""
    models = known_models(fine=nothing)
    models["locate"] = Model(replace(LOCALISER, shape=(64, 64, 64)), tissue_is_liver(LOCALISER))
    voxels = np.full((10, 10, 10), 40, np.int16)
    needed = 1000 * 3 + (700 << 20) + 16 * 16 * 32 * 80
    mask, _ = run(tmp_path, voxels, models, memory_limit=needed)
    assert mask.shape == (10, 10, 10)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, voxels, models, memory_limit=needed - 1)


def test_a_region_is_asked_of_its_own_stage_alone(tmp_path):
    asked = []

    class Whole(Locating):
        def __init__(self, name):
            self.name = name

        def __call__(self, labels, grid, seen):  # noqa: ARG002
            asked.append(self.name)
            return whole(grid)

    stages = {"look": SYSTEM.stage["locate"], "closer": SYSTEM.stage["locate"], "segment": SYSTEM.stage["segment"]}
    stages = {**stages, "closer": replace(stages["closer"], sees="a"), "segment": replace(stages["segment"], sees="b")}
    system = replace(SYSTEM, stage=stages, region={"a": Region("look", Whole("a")), "b": Region("closer", Whole("b"))})
    known = known_models()
    models = {"look": known["locate"], "closer": known["locate"], "segment": known["segment"]}
    run(tmp_path, body_phantom((20, 20, 20)), models, system=system)
    assert asked == ["a", "b"]


def bundles(folder, *those):
    """Folders of bundles that `load_models` can read."""
    for bundle in those:
        (folder / bundle.name).mkdir()
        (folder / bundle.name / "bundle.json").write_text(json.dumps(table_of(bundle)))


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled, in its order; an engine answers with its bundle's name's length for each class."""
    asked = []

    def load_engine(bundle, engine, precision, threads, *, pinned):
        del threads, pinned
        asked.append((bundle.name, engine, precision))
        return lambda volume: np.full((14, *volume.shape), len(bundle.name), np.float32)

    monkeypatch.setattr(pipeline, "load_engine", load_engine)
    monkeypatch.setattr(pipeline, "use_threads", lambda _: None)
    return asked


def test_what_two_stages_share_is_compiled_once(tmp_path, compiled):
    bundles(tmp_path, FINE, replace(FINE, name="other"))
    stage = Stage("fine", "openvino-float32", "f32")
    stages = {
        "search": stage, "segment": stage, "bf16": replace(stage, precision="bf16"),
        "other": replace(stage, bundle="other"), "both": replace(stage, with_bundles=("other",)),
    }  # fmt: skip
    merge = {"all": Merge(tuple(stages), Overlay(("liver",)))}
    system = replace(SYSTEM, stage=stages, region={}, result=Result("all"), merge=merge)
    models = load_models(system, threads=1, pinned=False, weights=tmp_path)
    assert compiled == [
        ("fine", "openvino-float32", "f32"), ("fine", "openvino-float32", "bf16"), ("other", "openvino-float32", "f32"),
    ]  # fmt: skip
    assert models["search"].engine is models["segment"].engine
    assert models["search"].engine is not models["bf16"].engine
    assert models["other"].bundle.name == "other"


def test_models_are_compiled_side_by_side(tmp_path, monkeypatch):
    bundles(tmp_path, LOCALISER, FINE)
    both_begun = threading.Barrier(2, timeout=30)
    monkeypatch.setattr(pipeline, "load_engine", lambda *_, **__: both_begun.wait())
    monkeypatch.setattr(pipeline, "use_threads", lambda _: None)
    assert list(load_models(SYSTEM, threads=2, pinned=False, weights=tmp_path)) == ["locate", "segment"]


def test_of_several_bundles_that_are_wrong_the_first_is_named(tmp_path, monkeypatch):
    """Whichever is found to be wrong first."""
    bundles(tmp_path, LOCALISER, FINE)
    second_failed = threading.Event()

    def load_engine(bundle, *_, **__):
        if bundle.name == FINE.name:
            second_failed.set()
        assert second_failed.wait(30)
        raise SetupError(bundle.name)

    monkeypatch.setattr(pipeline, "load_engine", load_engine)
    monkeypatch.setattr(pipeline, "use_threads", lambda _: None)
    with pytest.raises(SetupError, match=LOCALISER.name):
        load_models(SYSTEM, threads=2, pinned=False, weights=tmp_path)


def test_several_networks_of_a_stage_are_averaged(tmp_path, compiled):
    """Scores of 4 and 6 are 5: of bundles called `fine` and `second`."""
    bundles(tmp_path, FINE, replace(FINE, name="second"))
    stages = {"only": Stage("fine", "openvino-float32", "f32", with_bundles=("second",))}
    system = replace(SYSTEM, stage=stages, region={}, result=Result("only"))
    model = load_models(system, threads=1, pinned=False, weights=tmp_path)["only"]
    assert [name for name, *_ in compiled] == ["fine", "second"]
    assert model.bundle.name == "fine"
    assert (model.engine(np.zeros((1, 1, 2), np.float32)) == 5).all()


def test_quantised_scores_take_half_as_much_where_one_network_has_them(tmp_path, compiled):
    quantised = replace(FINE, score_step=0.1, files=dict.fromkeys(ENGINES[:2], FINE.files["openvino-float32"]))
    bundles(tmp_path, quantised, replace(quantised, name="second"))
    stage = Stage("fine", "openvino-int8", "f32")
    stages = {
        "int8": stage, "float32": replace(stage, engine="openvino-float32"),
        "mirrored": replace(stage, mirror_axes=("x",)), "two": replace(stage, with_bundles=("second",)),
    }  # fmt: skip
    merge = {"all": Merge(tuple(stages), Overlay(("liver",)))}
    system = replace(SYSTEM, stage=stages, region={}, result=Result("all"), merge=merge)
    models = load_models(system, threads=1, pinned=False, weights=tmp_path)
    assert {name: model.score_bytes for name, model in models.items()} == {
        "int8": 2,
        "float32": 4,
        "mirrored": 4,
        "two": 4,
    }
    assert compiled


TALL_AFFINE = lps_affine((3.0, 4.0, 5.0))  # 32 slices are 160 mm


def searching(min_height_mm):
    """The localiser is spared where there is less to see; a margin of 0 mm, and all that is found counts."""
    stages = {
        "locate": replace(SYSTEM.stage["locate"], min_height_mm=min_height_mm),
        "segment": replace(SYSTEM.stage["segment"], clean=()),
    }
    return replace(located(margin_mm=0.0), stage=stages)


@pytest.mark.parametrize(
    ("least", "box"),
    [
        pytest.param(160.0, Box((8, 8, 12), (16, 20, 24)), id="as high as it must be"),
        pytest.param(160.1, None, id="a little less"),
        pytest.param(0.0, Box((8, 8, 12), (16, 20, 24)), id="any height"),
    ],
)
def test_a_stage_may_be_spared_where_little_is_to_be_seen(tmp_path, least, box):
    mask, outcome = run(tmp_path, block(), affine=TALL_AFFINE, system=searching(least))
    assert outcome.box == box
    assert outcome.warnings == []
    assert ("locate.network" in outcome.seconds) == (box is not None)
    assert ((mask == 1) == (block() > 0)).mean() > 0.98


def test_the_height_of_a_stage_is_that_of_its_region(tmp_path):
    """160 mm of scan, of which `a` is 40: a second look at less than 50 is spared, and its region is all of `a`."""
    rule = replace(SYSTEM.region["abdomen"].rule, min_component_ml=0.0, margin_mm=0.0, margin_z_mm=None)
    fine = SYSTEM.stage["segment"]
    for least, seconds in ((40.0, True), (50.0, False)):
        stages = {
            "look": SYSTEM.stage["locate"], "closer": replace(fine, sees="a", min_height_mm=least),
            "segment": replace(fine, sees="b"),
        }  # fmt: skip
        system = replace(SYSTEM, stage=stages, region={"a": Region("look", rule), "b": Region("closer", rule)})
        known = known_models()
        models = {"look": known["locate"], "closer": known["segment"], "segment": known["segment"]}
        _, outcome = run(tmp_path, block(), models, TALL_AFFINE, system)
        assert ("closer.network" in outcome.seconds) == seconds
        assert outcome.box == Box((8, 8, 12), (16, 20, 24))
        assert outcome.warnings == []


def test_a_later_region_that_finds_nothing_is_what_its_stage_saw(tmp_path):
    rule = replace(SYSTEM.region["abdomen"].rule, min_component_ml=0.0, margin_mm=0.0, margin_z_mm=None)
    fine = replace(SYSTEM.stage["segment"], clean=())
    stages = {
        "look": SYSTEM.stage["locate"], "closer": replace(fine, sees="a"), "segment": replace(fine, sees="b"),
    }  # fmt: skip
    system = replace(SYSTEM, stage=stages, region={"a": Region("look", rule), "b": Region("closer", rule)})
    known = known_models()
    models = {"look": known["locate"], "closer": Model(FINE, nothing), "segment": known["segment"]}
    mask, outcome = run(tmp_path, block(), models, BLOCK_AFFINE, system)
    assert outcome.box == Box((8, 8, 12), (16, 20, 24))
    assert texts(outcome.warnings) == ["closer found no organ for b; what closer saw is processed"]
    assert (mask == 1).any()
    models["look"] = Model(LOCALISER, nothing)
    _, outcome = run(tmp_path, block(), models, BLOCK_AFFINE, system)
    assert outcome.box is None
    assert texts(outcome.warnings) == [
        "look found no organ for a; the whole volume is processed",
        "closer found no organ for b; the whole volume is processed",
    ]


def says(names, *over):
    """A model of its own labels. over: (id, HU above which it wins), rising."""

    def engine(volume):
        hu = volume * FINE.intensity.deviation + FINE.intensity.mean
        scores = np.zeros((len(names), *volume.shape), np.float32)
        for rank, (label, above) in enumerate(over, 1):
            scores[label] = np.where(hu > above, rank, -1)
        return scores

    return Model(replace(FINE, labels=names), engine)


def merged(merge, result="mask", **stages):
    plain = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    return replace(
        SYSTEM, stage={name: replace(plain, **changes) for name, changes in stages.items()}, region={}, merge=merge,
        result=Result(result),
    )  # fmt: skip


def three_parts():
    """Tissue of 40 HU, 400 HU and 900 HU side by side along x, in air."""
    voxels = np.full((48, 20, 20), -1000, np.int16)
    voxels[8:16, 4:16, 4:16], voxels[16:24, 4:16, 4:16], voxels[24:32, 4:16, 4:16] = 40, 400, 900
    return voxels


SAME_AFFINE = lps_affine((2.0, 3.0, 4.0))  # the fine model's own grid, so that labels are the voxels'


def test_maps_of_other_labels_are_merged_by_name(tmp_path):
    """`lesion` is the other model's 1, where `liver` is this one's; in the mask it comes after what is there."""
    models = {
        "organs": says(("background", "liver", "aorta"), (1, 0), (2, 600)),
        "lesions": says(("background", "lesion", "aorta", "liver"), (3, 0), (1, 300), (2, 600)),
    }
    merge = {"mask": Merge(("organs", "lesions"), Overlay(("lesion",)))}
    mask, outcome = run(tmp_path, three_parts(), models, SAME_AFFINE, merged(merge, organs={}, lesions={}))
    expected = np.zeros((48, 20, 20), np.uint8)
    expected[8:16, 4:16, 4:16], expected[16:24, 4:16, 4:16], expected[24:32, 4:16, 4:16] = 1, 3, 2
    assert (mask == expected).all()
    assert list(outcome.volume_ml) == ["liver", "aorta", "lesion"]
    assert outcome.volume_ml["lesion"] == pytest.approx(8 * 12 * 12 * 0.024)
    assert "mask" in outcome.seconds
    assert outcome.seconds["restore"] > 0
    # the other way round the names are the other's
    other = {"mask": Merge(("lesions", "organs"), Overlay(("liver",)))}
    mask, outcome = run(tmp_path, three_parts(), models, SAME_AFFINE, merged(other, organs={}, lesions={}))
    assert list(outcome.volume_ml) == ["lesion", "aorta", "liver"]
    expected[8:24, 4:16, 4:16] = 3
    assert (mask == expected).all()


def test_merges_of_merges_in_their_order(tmp_path):
    """`second` takes what `first` made, with a label that neither of its own stages had first."""
    models = {
        "organs": says(("background", "liver"), (1, 0)),
        "lesions": says(("background", "lesion"), (1, 300)),
        "bones": says(("background", "bone", "lesion"), (1, 600)),
    }
    merge = {
        "first": Merge(("organs", "lesions"), Overlay(("lesion",))),
        "second": Merge(("first", "bones"), Overlay(("bone", "lesion"))),
    }
    system = merged(merge, "second", organs={}, lesions={}, bones={})
    mask, outcome = run(tmp_path, three_parts(), models, SAME_AFFINE, system)
    assert list(outcome.volume_ml) == ["liver", "lesion", "bone"]
    assert [mask[8, 4, 4], mask[16, 4, 4], mask[24, 4, 4], mask[0, 0, 0]] == [1, 2, 3, 0]


def test_what_a_merge_takes_is_left_as_it_was(tmp_path):
    """The second takes the organs once more, and over them the liver of the first, lesions cut out."""
    models = {
        "organs": says(("background", "liver"), (1, 0)),
        "lesions": says(("background", "liver", "lesion"), (2, 300)),
    }
    merge = {
        "first": Merge(("organs", "lesions"), Fallback("lesion")),
        "mask": Merge(("organs", "first"), Overlay(("liver",))),
    }
    mask, outcome = run(tmp_path, three_parts(), models, SAME_AFFINE, merged(merge, organs={}, lesions={}))
    assert (mask[8:32, 4:16, 4:16] == 1).all()
    assert list(outcome.volume_ml) == ["liver", "lesion"]


def test_memory_counts_the_masks_that_are_held(tmp_path):
    """48 x 20 x 20 voxels: for each stage before, whose labels are merged, a byte of each; a search's are not held."""
    models = {name: says(("background", "liver"), (1, 0)) for name in ("a", "b", "c")}
    merge = {"mask": Merge(("a", "b", "c"), Overlay(("liver",)))}
    system = merged(merge, a={}, b={}, c={})
    needed = 19200 * (2 + 3) + (700 << 20) + 32 * 32 * 48 * 32
    run(tmp_path, three_parts(), models, SAME_AFFINE, system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, three_parts(), models, SAME_AFFINE, system, memory_limit=needed - 1)


@pytest.mark.parametrize(
    ("score_bytes", "window", "walk", "filled", "of_a_voxel"),
    [
        pytest.param(4, {}, EveryWindow(), 16 * 16 * 32, 14 * 4 + 24, id="float32"),
        pytest.param(2, {}, EveryWindow(), 16 * 16 * 32, 14 * 2 + 24, id="int16"),
        pytest.param(2, {"weights": "gaussian"}, EveryWindow(), 16 * 16 * 32, 14 * 4 + 24, id="divided by counts"),
        pytest.param(2, {"adds": "probabilities"}, EveryWindow(), 16 * 16 * 32, 14 * 4 + 24, id="softmaxed"),
        pytest.param(2, {}, UntilOrgan("liver", 1.0), 32 * 48 * 64, 14 * 4 + 24, id="one of many windows"),
    ],
)
def test_memory_counts_scores_as_they_are_added_up(tmp_path, score_bytes, window, walk, filled, of_a_voxel):
    """10 x 10 x 10 voxels fill the smallest window of 16 x 16 x 32, a walk's the largest."""
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=(), walk=walk)
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    bundle = replace(FINE, window=replace(FINE.window, **window))
    models = {"only": Model(bundle, tissue_is_liver(FINE), score_bytes=score_bytes)}
    needed = 1000 * 3 + (700 << 20) + filled * of_a_voxel
    run(tmp_path, np.full((10, 10, 10), 40, np.int16), models, system=system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, np.full((10, 10, 10), 40, np.int16), models, system=system, memory_limit=needed - 1)


@pytest.mark.parametrize(("holds_mb", "counted"), [(400, 700), (1400, 1400)])
def test_memory_counts_what_large_networks_hold(tmp_path, holds_mb, counted):
    """10 x 10 x 10 voxels fill the smallest window of 16 x 16 x 32."""
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    models = {"only": Model(FINE, tissue_is_liver(FINE), holds_mb)}
    needed = 1000 * 3 + (counted << 20) + 16 * 16 * 32 * 80
    run(tmp_path, np.full((10, 10, 10), 40, np.int16), models, system=system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, np.full((10, 10, 10), 40, np.int16), models, system=system, memory_limit=needed - 1)


@pytest.mark.parametrize(
    ("how", "more"),
    [
        pytest.param(Resampling("resample-normalise"), 0, id="nothing"),
        pytest.param(Resampling("clip-resample-normalise"), 8, id="clipped: float32, twice"),
        pytest.param(Resampling("normalise-resample"), 8, id="normalised: float32, twice"),
        pytest.param(Resampling(interpolation="cubic"), 4, id="a spline: float32, between its passes"),
        pytest.param(Resampling("normalise-resample", interpolation="cubic"), 12, id="both"),
    ],
)
def test_memory_counts_what_is_made_of_the_scans_own_voxels(tmp_path, how, more):
    """60 x 80 x 40 voxels of 2 bytes and their mask, 40 x 53 x 90 fine voxels of 80 bytes."""
    voxels = body_phantom((60, 80, 40))
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    models = {"only": Model(replace(FINE, resampling=how), tissue_is_liver(FINE))}
    needed = 60 * 80 * 40 * (3 + more) + (700 << 20) + 40 * 53 * 90 * 80
    run(tmp_path, voxels, models, system=system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, voxels, models, system=system, memory_limit=needed - 1)


def test_memory_counts_what_a_model_of_a_shape_makes_of_the_scans_own_voxels(tmp_path):
    """Its grid is in what models need; of 60 x 80 x 40 voxels 2 bytes, a mask, and 8 clipped are not."""
    how = Resampling("clip-resample-normalise")
    stage = replace(SYSTEM.stage["locate"], clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    models = {"only": Model(replace(LOCALISER, resampling=how), tissue_is_liver(LOCALISER))}
    needed = 60 * 80 * 40 * (3 + 8) + (700 << 20)
    run(tmp_path, body_phantom((60, 80, 40)), models, system=system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, body_phantom((60, 80, 40)), models, system=system, memory_limit=needed - 1)


def test_memory_counts_what_a_walk_fills_up_to(tmp_path):
    """10 x 10 x 10 voxels fill the smallest window of 16 x 16 x 32; a walk's windows are the largest, 32 x 48 x 64."""
    voxels = np.full((10, 10, 10), 40, np.int16)
    for walk, filled in ((EveryWindow(), 16 * 16 * 32), (UntilOrgan("liver", 1.0), 32 * 48 * 64)):
        stage = replace(SYSTEM.stage["segment"], sees="scan", clean=(), walk=walk)
        system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
        models = {"only": known_models()["segment"]}
        needed = 1000 * 3 + (700 << 20) + filled * 80
        run(tmp_path, voxels, models, system=system, memory_limit=needed)
        with pytest.raises(CaseError, match="more than the"):
            run(tmp_path, voxels, models, system=system, memory_limit=needed - 1)


@pytest.mark.parametrize("alignment", ["half-pixel", "corners", "first-voxel"])
def test_labels_come_back_where_they_were_however_grids_are_aligned(tmp_path, alignment):
    """A block in a region of the scan, on a grid about as fine; shifted by a voxel it would miss a face of 12."""
    fine = replace(FINE, spacing_mm=(2.4, 2.2, 1.7), resampling=Resampling(averages=False, alignment=alignment))
    models = {"locate": known_models()["locate"], "segment": Model(fine, tissue_is_liver(fine))}
    mask, outcome = run(tmp_path, block(), models, BLOCK_AFFINE, located(margin_mm=17.0))
    assert outcome.box is not None
    assert ((mask == 1) == (block() > 0)).all()


def test_a_search_from_the_feet_up_and_what_it_tells(tmp_path):
    """As paper 000: 60 slices of 4 mm; liver of 24.2 ml above slice 40, seen from the second window of 32 on.

    Windows begin at 0 and 28; the range is 40 mm below slice 40 and 60 above.
    """
    voxels = np.full((64, 48, 60), -1000, np.int16)
    voxels[10:34, 10:31, 40:42] = 40
    names = FINE.labels
    fine = SYSTEM.stage["segment"]
    search = replace(fine, sees="scan", clean=(), walk=UntilOrgan("liver", 20.0))
    system = replace(
        SYSTEM,
        stage={"search": search, "segment": replace(fine, clean=())},
        region={"abdomen": Region("search", LabelRange("liver", 40.0, 60.0, 0.0))},
    )
    looks = []

    def engine(volume):
        looks.append(volume.shape)
        return tissue_is_liver(FINE)(volume)

    models = dict.fromkeys(("search", "segment"), Model(replace(FINE, labels=names), engine))
    mask, outcome = run(tmp_path, voxels, models, SAME_AFFINE, system)
    assert outcome.box == Box((30, 0, 0), (55, 48, 64))
    assert looks[:2] == [(32, 48, 64)] * 2
    assert len(looks) == 3
    assert ((mask == 1) == (voxels > 0)).all()
    assert outcome.warnings == []
    voxels[:, :, 40:42] = -1000
    _, outcome = run(tmp_path, voxels, models, SAME_AFFINE, system)
    assert outcome.box is None
    assert outcome.warnings[0].text == "search found no organ for abdomen; the whole volume is processed"


@pytest.mark.parametrize("orientation", ["patient", "file", "ras"])
def test_labels_come_back_where_they_were_whatever_axes_a_model_sees(tmp_path, orientation):
    """A file that is stored in another order, with zeros around it; as it lies the mask is the same."""
    body = body_phantom((40, 60, 30))
    body[:15, :20, :10] = 900  # bone in one corner, so that a flip shows
    voxels = np.pad(body, ((3, 1), (0, 6), (2, 0)))
    affine = lps_affine(SPACING)
    turned = affine[:, [2, 0, 1, 3]] * [-1, 1, -1, 1]
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"), posture=Posture(as_it_is=True))
    bundle = replace(FINE, orientation=orientation, crops_to_nonzero=True, spacing_mm=(3.0, 3.0, 3.0))
    models = {"only": Model(bundle, tissue_is_liver(FINE))}
    mask, _ = run(tmp_path, voxels.transpose(2, 0, 1)[::-1, :, ::-1], models, turned, system)
    mask = mask[::-1, :, ::-1].transpose(1, 2, 0)
    assert not mask[:3].any()
    assert not mask[:, 60:].any()
    found = mask[3:43, :60, 2:]
    for label, there in ((1, body == 40), (3, body == 900)):
        assert 2 * (there & (found == label)).sum() / (there.sum() + (found == label).sum()) > 0.9


def test_as_it_is_values_are_seen_as_they_are_stored(tmp_path):
    """Unsigned storage: 1064 for tissue, and 24 for air, which is tissue to this model."""
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    voxels = (body_phantom((30, 30, 30)) + 1024).astype(np.uint16)
    labels = []
    for posture in (Posture(), Posture(as_it_is=True)):
        models = {"only": known_models()["segment"]}
        mask, outcome = run(tmp_path, voxels, models, system=replace(system, posture=posture))
        labels.append((np.unique(mask).tolist(), [notice.code for notice in outcome.warnings]))
    assert labels == [([0, 1], ["offset"]), ([1, 3], [])]


def test_regions_are_painted_on_the_scans_own_grid(tmp_path):
    """All is the first region, tissue the second over it: of interpolated scores, as far as those are above zero."""

    def network(volume):
        hu = volume * FINE.intensity.deviation + FINE.intensity.mean
        return np.stack([np.ones_like(hu), hu + 480])

    bundle = replace(FINE, labels=("background", "lesion", "body"), regions=(2, 1))
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    voxels = body_phantom((60, 80, 40))
    mask, outcome = run(tmp_path, voxels, {"only": Model(bundle, network)}, system=system)
    plain, _ = run(tmp_path, voxels, {"only": known_models()["segment"]}, system=system)
    assert_array_equal(mask == 1, plain == 1)
    assert set(np.unique(mask)) == {1, 2}
    assert list(outcome.volume_ml) == ["lesion", "body"]


def test_memory_counts_a_score_of_each_region(tmp_path):
    """48 x 20 x 20 voxels fill a window of 32 x 32 x 48; two regions and two more are held, of 5 bytes."""
    bundle = replace(FINE, labels=("background", *"abcdefg"), regions=(2, 1))
    models = {"only": Model(bundle, lambda volume: np.ones((2, *volume.shape), np.float32))}
    stage = replace(SYSTEM.stage["segment"], sees="scan", clean=())
    system = replace(SYSTEM, stage={"only": stage}, region={}, result=Result("only"))
    needed = 19200 * 3 + (700 << 20) + 32 * 32 * 48 * 32
    run(tmp_path, three_parts(), models, SAME_AFFINE, system, memory_limit=needed)
    with pytest.raises(CaseError, match="more than the"):
        run(tmp_path, three_parts(), models, SAME_AFFINE, system, memory_limit=needed - 1)


def test_what_a_stage_mirrors_is_its_own_choice(tmp_path, compiled):
    """One network, of which a stage takes four answers and another one."""
    bundles(tmp_path, FINE)
    stage = Stage("fine", "openvino-float32", "f32")
    stages = {"locate": stage, "segment": replace(stage, sees="abdomen", mirror_axes=("z", "x"))}
    seen = []
    models = load_models(replace(SYSTEM, stage=stages), threads=1, pinned=False, weights=tmp_path)
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for name in stages:
        answer = models[name].engine(volume)
        seen.append(answer.shape)
        assert (answer == 4).all()
    assert seen == [(14, 2, 3, 4)] * 2
    assert len(compiled) == 1
    assert models["locate"].engine is not models["segment"].engine
