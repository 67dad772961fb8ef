import tomllib
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.system.definition import Region, read_system
from tests.training.nnunet.made_up_model import DATASET, PLANS, plan_of
from training.nnunet.systems import beyond_the_abdomen, fast_system, int8_system, own_system

PLAN = plan_of(PLANS)


def test_nnu_nets_own_steps_see_the_scan_as_it_is(tmp_path):
    text = own_system(PLAN, ["team-fold-0", "team-fold-1"], (1, 2))
    (tmp_path / "team.toml").write_text(text)
    (tmp_path / "team-int8.toml").write_text(int8_system("team", text))
    system = read_system(str(tmp_path / "team.toml"))
    assert system.title == (
        "nnU-Net's Dataset901_Made, 3d_fullres, with nnU-Net's own steps, 2 folds averaged, mirrored, in float32"
    )
    stage = system.stage["segment"]
    assert (stage.bundles, stage.engine, stage.mirror_axes) == (
        ("team-fold-0", "team-fold-1"), "openvino-float32", ("y", "x"),
    )  # fmt: skip
    assert system.posture.as_it_is
    quantised = read_system(str(tmp_path / "team-int8.toml"))
    assert quantised.stage["segment"].engine == "openvino-int8"
    assert quantised.stage["segment"].mirror_axes == ("y", "x")
    assert quantised.title.endswith("mirrored, in INT8")


def test_ours_look_for_the_abdomen_where_no_label_lies_beyond_it(tmp_path):
    (tmp_path / "fast.toml").write_text(fast_system(PLAN, ["team-fast"], ()))
    system = read_system(str(tmp_path / "fast.toml"))
    assert system.stage["segment"].sees == "abdomen"
    assert not system.posture.as_it_is
    default = read_system("viscera")
    assert system.stage["locate"] == default.stage["locate"]
    box = replace(default.region["abdomen"].rule, at_least_mm=(40.0, 32.0, 36.0))
    assert system.region == {"abdomen": Region("locate", box)}
    others = plan_of(PLANS, {**DATASET, "labels": {"background": 0, "liver": 1, "femur": 2}})
    (tmp_path / "whole.toml").write_text(fast_system(others, ["team-fast"], ()))
    assert list(read_system(str(tmp_path / "whole.toml")).stage) == ["segment"]


def test_labels_that_the_abdomens_box_may_leave_out():
    labels = ["Liver", "left kidney", "Pancreas lesion", "kidneys", "rib_left_7", "deliverance", "adrenal gland right"]
    plan = plan_of(PLANS, {**DATASET, "labels": {"background": 0, **{name: n for n, name in enumerate(labels, 1)}}})
    assert beyond_the_abdomen(plan) == ["rib_left_7", "deliverance"]


def test_words_of_others_end_no_line_of_a_system():
    plan = plan_of({**PLANS, "dataset_name": 'Data"\n[stage.x]\\ = \u2028'})
    table = tomllib.loads(own_system(plan, ['a"b'], ()))
    assert set(table) == {"title", "stage", "result", "posture"}
    assert set(table["stage"]) == {"segment"}
    assert table["stage"]["segment"]["bundle"] == 'a"b'
