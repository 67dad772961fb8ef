import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.system.definition import WEIGHTS
from evaluation.shared.protocol import ORGANS
from training.recipe import CHALLENGE_LABELS, PLANS, Network, as_table, changed_fields, load_recipe, save_recipe

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
NAMES = ("fine", "plain", "localiser", "localiser-plain", "localiser-001")  # others may lie beside them


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_here_loads_and_is_the_same_through_json(tmp_path, name):
    recipe = load_recipe(RECIPES / f"{name}.toml")
    assert recipe.name == name
    assert recipe.classes == len(CHALLENGE_LABELS)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize("name", ["narrow", "lyy1-alone", "hanglok-round"])
def test_those_that_no_paper_has_load_too(name):
    assert load_recipe(RECIPES / f"{name}.toml").name == name


def test_the_fold_is_named_once():
    folds = {load_recipe(RECIPES / f"{name}.toml").data.fold_patients for name in NAMES}
    assert len(folds) == 1
    assert len(folds.pop()) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "patch"', 'kind = "slice"', r"stages\[0\]: kind must be one of patch, scan"),
        ("steps = 5000", "stepps = 2000", r"unknown field stages\[0\]\.stepps"),
        ("steps = 5000", 'steps = "2000"', r"stages\[0\]\.steps must be a whole number"),
        ("steps = 5000", "steps = 0", r"stages\[0\]: shape, batch, steps, .* must be above zero"),
        (
            "shape = [48, 64, 80]",
            "shape = [32, 64, 80]",
            "stage 4mm: shape .* must be multiples of .16, 16, 16., .48, 48, 48. at least",
        ),
        ("shape = [48, 64, 80]", "shape = [50, 64, 80]", "stage 4mm: shape .* must be multiples of .16, 16, 16."),
        ('role = "fine"', 'role = "coarse"', "role must be one of localiser, fine"),
        ('kind = "plain-unet"', 'kind = "transformer"', "network: kind must be one of"),
        ('kind = "plain-unet"', 'kind = "partial-convolution"', "network: a partial-convolution network has one"),
        ('name = "plain"', 'name = "plain"\nsead = 1', "unknown field sead"),
        ('name = "plain"', 'name = "../app"', "name must be that of a folder"),
        ("channels = [16, 32, 64, 128, 192]", "channels = [0, 32, 64, 128, 192]", "channels must be above zero"),
        ("[network]", "[loss]\nabsent_weight = nan\n[network]", "absent_weight must be a finite number, found nan"),
        ("[augmentation]", "[augmentation]\nfill_hu = [0, inf]", r"fill_hu\[1\] must be a finite number, found inf"),
        ("[augmentation]", "[augmentation]\nwall_mm = [6, 2]", "wall_mm must be two lengths"),
        (
            "[network]",
            "[export]\nscore_range = [2, 1]\n[network]",
            "export: score_range must be two numbers, the lower",
        ),
        ("[network]", "[export]\nscore_range = [1]\n[network]", "export: score_range must be two numbers, the lower"),
        ("[network]", "[export]\nscore_range = [0, inf]\n[network]", "score_range"),
        ('name = "plain"', 'name = "plain"\ncheckpoint_minutes = 6', "checkpoint_minutes must be above 0 and 5"),
        ("[network]", "[loss]\nclass_weights = [1, 1]\n\n[network]", "must name the same classes"),
        ("stem_stride = 1", "stem_stride = 2", "scores as fine as its input"),
        ("supervised_levels = 3", "supervised_levels = 0", "supervised_levels must be from 1"),
        ("[export.window]", "[export.frame]", r"unknown field export\.frame"),
        ('name = "2.5mm"', 'name = "4mm"', "each of another name"),
        (
            "hold_out = true\nevaluate_every = 400",
            "hold_out = false\nevaluate_every = 400",
            "evaluate_every goes with hold",
        ),
        ("hold_out = true\nevaluate_every = 1000", "hold_out = false", "no later one can hold them out"),
        ("[augmentation]", "[augmentation]\nblur_probability = 30", "blur_probability must be from 0 to 1"),
        ("[augmentation]", "[augmentation]\nremovable_organs = [14]", "must name organs"),
        ("[augmentation]", "[augmentation]\nhollow_organs = [14]", "must name organs"),
        ("[augmentation]", "[augmentation]\nfill_hu = [250, -40]", "fill_hu must be two HU, the lower first"),
        ("[network]", "[sampling]\nphantom_share = 3\n[network]", "must be from 0 to 1, found 3"),
        ("[network]", "[sampling]\nslab_mm = [200, 60]\n[network]", "slab_mm must be two lengths"),
        ("[network]", "[sampling]\nbox_mm = [250, 70]\n[network]", "box_mm must be two lengths"),
        ("[network]", "[sampling]\nbox_share = 1.1\n[network]", "box_share must be from 0 to 1, found 1.1"),
        ("[augmentation]", "[augmentation]\nnoise_hu = -4", "deviations must be zero or more"),
        ("[augmentation]", "[augmentation]\nthick_slice_mm = [0, 5]", "thick_slice_mm must be two lengths"),
        ("[augmentation]", "[augmentation]\nzoom_mm = [50, 20]", "zoom_mm must be two lengths"),
        ('kind = "muon"', 'kind = "adam"', "kind must be one of adamw, muon, sgd"),
        ('kind = "muon"', 'kind = "sgd"\nmomentum = 1', "momentum must be above 0 and below 1"),
        ('kind = "muon"', 'schedule = "steps"', "schedule must be one of cosine, polynomial"),
        ("[optimiser]", "[optimiser]\nweight_decay = -1", "weight_decay must be zero or more"),
        ("[network]", "[loss]\nteacher_share = 2\n[network]", "teacher_share must be from 0 to 1"),
        ("[optimiser]", "[optimiser]\ngradient_norm = 0", "gradient_norm must be above zero"),
        ('name = "plain"', 'name = "plain"\nthreads = 0', "threads must be above zero"),
        ("[network]", "[intensity]\nlow = 300\n[network]", "needs low < high"),
        ("[optimiser]", "[optimiser]\nwarm_up_steps = 0", "warm_up_steps and gradient_norm must be above"),
        ('role = "fine"', 'role = "localiser"', "a localiser sees whole scans"),
        ("[export.window]", '[export]\nengines = ["onnx"]\n[export.window]', "export.engines must be of .*'onnx'"),
        ("multiple = 16", "multiple = 8", r"export\.window: a window's sides must be multiples of \(16, 16, 16\)"),
        (
            "largest = [128, 176, 144]\nsmallest = [64, 64, 64]\nmultiple = 16",
            "largest = [72, 72, 72]\nsmallest = [72, 72, 72]\nmultiple = 8",
            r"export\.window: a window's sides",
        ),
        ("[export.window]", '[export.resampling]\norder = "any"\n[export.window]', "export.resampling: order must be"),
        (
            "[export.window]",
            "[export.resampling]\nsmooth = true\n[export.window]",
            "unknown field export.resampling.smooth",
        ),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, old, new, message):
    text = (RECIPES / "plain.toml").read_text()
    assert old in text
    (tmp_path / "common.toml").write_text((RECIPES / "common.toml").read_text())
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SetupError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


NNUNET = {"kind": "nnunet", "plan": "small", "channels": (4, 4, 4, 4, 4), "stem_stride": 1, "supervised_levels": 4}
SCALES = {"kind": "scale-aware", "channels": (6, 12, 24, 48), "stem_stride": 1, "supervised_levels": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**NNUNET, "plan": "large"}, "plan must be one of isotropic, distilled, small, anisotropic, found 'large'"),
        ({**NNUNET, "plan": ""}, "plan must be one of"),
        ({**NNUNET, "channels": (4, 4, 4, 4)}, "the plan small has 5 levels of channels"),
        ({**NNUNET, "supervised_levels": 5}, "all but the coarsest supervised"),
        ({**NNUNET, "stem_stride": 2}, "and stem_stride 1"),
        ({**NNUNET, "kind": "plain-unet"}, "a plain-unet network has no plan"),
        ({**NNUNET, "depths": (1, 1, 1, 1, 1)}, "depths goes with a scale-aware network, and only with that"),
        (SCALES, "depths goes with a scale-aware network"),
        ({**SCALES, "depths": (2, 2)}, "a depth for each of its channels"),
        ({**SCALES, "depths": (2, 2, 2, 2), "supervised_levels": 2}, "a scale-aware network has one supervised level"),
    ],
)
def test_networks_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        Network(**fields)


def test_what_an_inputs_sides_are_multiples_of():
    assert Network(**NNUNET).multiple == (8, 16, 16)
    assert Network(**{**NNUNET, "plan": "isotropic", "channels": (4,) * 6}).multiple == (16, 32, 32)
    assert Network(**SCALES, depths=(2, 2, 2, 2)).multiple == (16, 16, 16)


def test_the_plans_strides_are_those_of_the_networks():
    pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
    from training.networks import nnunet

    assert {name: plan.strides for name, plan in nnunet.PLANS.items()} == PLANS


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("augmentation", {"lesion_probability": 0.5}, "lesion_probability needs lesion_organs"),
        ("augmentation", {"lesion_probability": 0.5, "lesion_organs": (1,)}, "lesions themselves are 14"),
        ("augmentation", {"lesion_organs": (14,)}, "must name organs"),
        ("data", {"one_organ": True}, "with data.one_organ there are two classes"),
        ("loss", {"distillation_weight": 1.0}, "distillation_weight is for networks of kind nnunet"),
        ("loss", {"distillation_weight": -1.0}, "distillation_weight must be zero or more"),
        ("loss", {"kind": "focal"}, "kind must be one of batch, nnunet, weighted"),
        ("loss", {"dice_by_sample": True}, 'go with kind = "nnunet"'),
        ("loss", {"warm_up_steps": 3}, 'go with kind = "weighted"'),
        ("loss", {"kind": "weighted", "warm_up_steps": 3}, "dice_weights must be as many as class_weights"),
        ("loss", {"kind": "weighted", "dice_weights": (1.0,) * 14}, "needs warm_up_steps of 1 or more"),
        ("loss", {"counted_levels": -1}, "counted_levels must be zero or more"),
        ("loss", {"counted_levels": 4}, "counted_levels must not be above network.supervised_levels"),
        ("export", {"finest_level": 1}, "export.finest_level is for networks of kind nnunet"),
        ("export", {"finest_level": -1}, "export.finest_level"),
    ],
)
def test_parts_that_do_not_fit(part, fields, message):
    recipe = load_recipe(RECIPES / "plain.toml")
    with pytest.raises(ValueError, match=message):
        replace(recipe, **{part: replace(getattr(recipe, part), **fields)})


def test_one_organ_is_two_classes_whose_labels_are_all_organs():
    recipe = load_recipe(RECIPES / "hanglok-locate.toml")
    assert (recipe.classes, recipe.label_classes, recipe.labels) == (2, 14, ("background", "organs"))


def test_lesions_need_scores_as_fine_as_the_input():
    recipe = load_recipe(RECIPES / "localiser.toml")
    more = {"loss": replace(recipe.loss, class_weights=(1.0,) * 15), "labels": (*recipe.labels, "tumour")}
    shifts = (*recipe.augmentation.organ_shift_hu, 20.0)
    lesions = {"organ_shift_hu": shifts, "lesion_probability": 0.5, "lesion_organs": (1,)}
    with pytest.raises(ValueError, match="lesion_probability needs scores, and labels, as fine as the input"):
        replace(recipe, augmentation=replace(recipe.augmentation, **lesions), **more)


def test_whose_masks_are_drawn_by_hand():
    data = replace(load_recipe(RECIPES / "plain.toml").data, manual=("FLARE22_*", "one"))
    assert [data.is_manual(name) for name in ("FLARE22_0001", "flare22_0001", "one", "one_more")] == [
        True,
        False,
        True,
        False,
    ]


def test_json_is_plain(tmp_path):
    save_recipe(load_recipe(RECIPES / "plain.toml"), tmp_path / "plain.json")
    assert json.loads((tmp_path / "plain.json").read_text())["stages"][0]["shape"] == [48, 64, 80]


def test_the_challenges_labels_are_those_that_are_scored_and_that_ship():
    assert ("background", *ORGANS) == CHALLENGE_LABELS
    assert load_bundle(WEIGHTS / "fine").labels == load_bundle(WEIGHTS / "localiser").labels == CHALLENGE_LABELS


def test_the_fine_model_that_ships_is_of_its_recipe():
    recipe, bundle = load_recipe(RECIPES / "fine-fixed.toml"), load_bundle(WEIGHTS / "fine")
    assert (recipe.name, bundle.training["recipe"]) == (bundle.name, "fine-fixed.toml")
    assert bundle.window is not None
    assert recipe.export.window is not None
    window = json.loads(json.dumps(asdict(bundle.window)))
    assert {name: window[name] for name in recipe.export.window} == recipe.export.window
    assert (bundle.spacing_mm, bundle.labels) == (recipe.stages[-1].spacing_mm, recipe.labels)
    assert bundle.training["patch"] == list(recipe.stages[-1].shape)
    low, high = recipe.export.score_range
    assert bundle.score_step == pytest.approx((high - low) / 255)


def test_labels_are_those_of_the_challenge_or_as_many_as_there_are_classes():
    recipe = load_recipe(RECIPES / "plain.toml")
    assert recipe.labels == CHALLENGE_LABELS
    with pytest.raises(ValueError, match="labels must be 14 different names"):
        replace(recipe, labels=(*CHALLENGE_LABELS, "tumour"))
    with pytest.raises(ValueError, match="labels must be 14 different names"):
        replace(recipe, labels=(*CHALLENGE_LABELS[:-1], "liver"))
    with pytest.raises(ValueError, match="labels must begin with 'background', found 'left_kidney'"):
        replace(recipe, labels=CHALLENGE_LABELS[::-1])


def test_a_half_resolution_network_sees_every_voxel():
    network = load_recipe(RECIPES / "fine.toml").network
    assert (network.multiple, network.label_stride) == ((16, 16, 16), 1)
    with pytest.raises(ValueError, match="half-resolution network has stem_stride 1"):
        replace(network, stem_stride=2)


def test_a_quarter_resolution_network_scores_at_half():
    network = load_recipe(RECIPES / "localiser.toml").network
    assert (network.multiple, network.label_stride) == ((32, 32, 32), 2)
    with pytest.raises(ValueError, match="quarter-resolution network has stem_stride 4"):
        replace(network, stem_stride=2)
    with pytest.raises(ValueError, match="no fixed_levels"):
        replace(network, fixed_levels=1)


def test_only_a_network_that_knows_several_norms_has_a_choice_of_them():
    half, plain = (load_recipe(RECIPES / name).network for name in ("fine.toml", "plain.toml"))
    assert (half.norm, replace(half, norm="batch-renorm").norm) == ("instance", "batch-renorm")
    with pytest.raises(ValueError, match="norm"):
        replace(half, norm="group")
    for choice, reason in (({"norm": "instance"}, "no choice of norm"), ({"fixed_levels": 1}, "no fixed_levels")):
        with pytest.raises(ValueError, match=f"plain-unet network has {reason}"):
            replace(plain, **choice)
    assert replace(half, fixed_levels=4).fixed_levels == 4
    for levels in (-1, 5):
        with pytest.raises(ValueError, match="fixed_levels must be from 0 to the number of channels"):
            replace(half, fixed_levels=levels)


def test_a_field_that_an_older_run_did_not_know_is_no_change_where_it_has_its_default():
    now = as_table(load_recipe(RECIPES / "plain.toml"))
    before = json.loads(json.dumps(now))
    for stage in before["stages"]:
        del stage["asks_teacher"]
    assert changed_fields(before, now) == []
    now["stages"][0]["asks_teacher"] = False
    assert changed_fields(before, now) == ["stages"]


def test_a_field_that_is_gone_is_a_change():
    now = as_table(load_recipe(RECIPES / "plain.toml"))
    before = json.loads(json.dumps(now))
    before["loss"]["focal"] = 2
    assert changed_fields(before, now) == ["loss"]
    del before["stages"]
    assert changed_fields(before, now) == ["loss", "stages"]
