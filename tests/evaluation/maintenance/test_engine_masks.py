import numpy as np
import pytest

from app.system.definition import load_system
from evaluation.maintenance import engine_masks
from evaluation.maintenance.engine_masks import Same, compare_engines, same, with_engine
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import FINE, known_models, nothing, tissue_is_liver


def mask(*labels):
    return np.array(labels, np.uint8).reshape(1, 1, -1)


def test_voxels_are_compared_by_label():
    assert same(mask(0, 1, 1, 0), mask(0, 1, 2, 0)) == Same(0.75, 0.5)
    assert same(mask(0, 0), mask(0, 3)) == Same(0.5, 0.0)


def test_without_an_organ_all_organs_agree():
    assert same(mask(0, 0), mask(0, 0)) == Same(1.0, 1.0)


def test_every_stage_takes_the_engine_in_float32():
    system = with_engine(load_system("viscera-bf16"), "torchscript")
    assert {(stage.engine, stage.precision) for stage in system.stage.values()} == {("torchscript", "f32")}


@pytest.mark.parametrize(("second", "expected"), [(tissue_is_liver(FINE), 1.0), (nothing, 0.0)])
def test_a_system_is_run_by_both_engines(tmp_path, monkeypatch, second, expected):
    """The second engine's masks are the same, or empty."""
    asked = []

    def load_models(system, *, threads, pinned, weights):  # noqa: ARG001
        engine = system.stage["segment"].engine
        asked.append((engine, weights))
        return known_models(fine=None if engine == "openvino-float32" else second)

    monkeypatch.setattr(engine_masks, "load_models", load_models)
    for name in "ab":
        save_nifti(tmp_path / f"{name}_0000.nii.gz", body_phantom(), lps_affine((4, 4, 5)))
    scans = [tmp_path / "a_0000.nii.gz", tmp_path / "b_0000.nii.gz"]
    found = list(compare_engines("viscera", scans, ("openvino-float32", "openvino-int8"), tmp_path))
    assert [name for name, _ in found] == ["a", "b"]
    assert [shares.of_organs for _, shares in found] == [expected, expected]
    assert asked == [("openvino-float32", tmp_path), ("openvino-int8", tmp_path)]
