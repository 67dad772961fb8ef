from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.steps.normalise import normalise  # noqa: E402
from training.evaluate import dice_of_classes, evaluate, normalised, predict, summarise, whole  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.volumes import InMemory, make_volume  # noqa: E402

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
FINE, LOCALISER = (load_recipe(RECIPES / f"{name}.toml") for name in ("fine", "localiser"))
CPU = torch.device("cpu")


def body(name="v", patient="p"):
    image = np.zeros((20, 16, 18), np.int16)
    image[4:12, 4:12, 4:12] = 100
    labels = (image > 0).astype(np.uint8)
    return make_volume(name, patient, image, labels, (80.0, 64.0, 72.0), 14, np.random.default_rng(0))


class Thresholds(torch.nn.Module):
    """Bright is liver, at the input's size or half of it."""

    def __init__(self, stride=1):
        super().__init__()
        self.stride = stride

    def forward(self, volume):
        scores = torch.zeros(1, 14, *volume.shape[2:])
        scores[:, 1] = torch.where(volume[:, 0] > 0, 1.0, -1.0)
        return torch.nn.functional.avg_pool3d(scores, self.stride)


def test_training_sees_what_running_sees():
    values = np.array([-2000, -160, 0, 40, 999], np.float32)
    seen = normalised(torch.from_numpy(values), FINE.intensity).numpy()
    np.testing.assert_allclose(seen, normalise(values, FINE.intensity))


def test_dice_by_hand():
    truth, prediction = torch.tensor([1, 1, 2, 0]), torch.tensor([1, 0, 3, 3])
    assert dice_of_classes(truth, prediction, 4) == {1: pytest.approx(2 / 3), 2: 0.0}  # 3 is not in the truth


def test_patients_count_alike_however_many_volumes_they_have():
    result = summarise({"A": [{1: 0.2}, {1: 0.4}], "B": [{1: 0.9, 2: 0.5}], "C": [{}]}, 4, 3)
    assert result.mean == pytest.approx((0.3 + 0.7) / 2)
    assert result.dice == pytest.approx({1: 0.6, 2: 0.5})
    assert result.false_alarms == 4
    assert np.isnan(summarise({"A": [{}]}, 0, 3).mean)


def test_a_patch_stage_sees_the_volume_at_its_spacing_amid_air():
    stage = replace(FINE.stages[0], spacing_mm=(4.0, 4.0, 4.0))
    image, labels = whole(body(), FINE, stage)
    assert tuple(image.shape) == tuple(labels.shape) == (48, 48, 48)
    torch.testing.assert_close(image[:20, :16, :18], body().image.float(), atol=0.01, rtol=0)
    assert torch.equal(labels[:20, :16, :18], body().labels)
    assert (image[20:] == -1024).all()
    assert not labels[20:].any()


def test_a_stage_coarser_than_its_volumes_sees_them_at_its_own_spacing():
    image, labels = whole(body(), FINE, replace(FINE.stages[0], spacing_mm=(8.0, 8.0, 8.0)))
    assert tuple(image.shape) == (48, 48, 48)  # 10 x 8 x 9 voxels, filled up to the smallest that the network takes
    assert int((image > -1000).sum()) == 10 * 8 * 9
    assert labels.sum() == 64


def test_a_scan_stage_sees_the_whole_scan_in_its_shape():
    image, labels = whole(body(), LOCALISER, LOCALISER.stages[0])
    assert tuple(image.shape) == LOCALISER.stages[0].shape
    assert tuple(labels.shape) == tuple(n // 2 for n in LOCALISER.stages[0].shape)


def test_evaluation_writes_slices_to_look_at_and_leaves_the_network_training(tmp_path):
    network = Thresholds(2).train()
    stage = replace(LOCALISER.stages[0], shape=(40, 32, 36))
    volumes = InMemory([body("a", "A"), body("b", "B")])
    result = evaluate(network, volumes, LOCALISER, stage, CPU, tmp_path / "slices.npz")
    assert result.mean == pytest.approx(1.0, abs=0.15)
    assert set(result.dice) == {1}
    assert network.training
    arrays = np.load(tmp_path / "slices.npz")
    assert arrays["a.image"].shape == arrays["a.reference"].shape == arrays["b.prediction"].shape == (20, 18)
    assert arrays["a.reference"].any()


def test_prediction_is_in_the_classes_of_the_network():
    image = torch.full((8, 8, 8), -1024.0)
    image[:4] = 100
    assert predict(Thresholds(), image, FINE.intensity, CPU)[:, 0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_with_one_organ_the_truth_is_one_class_too():
    recipe = replace(
        FINE,
        labels=("background", "organs"),
        data=replace(FINE.data, one_organ=True),
        loss=replace(FINE.loss, class_weights=(1.0, 1.0)),
    )
    stage = replace(FINE.stages[0], spacing_mm=(4.0, 4.0, 4.0))
    volume = body()
    volume.labels[4:8][volume.labels[4:8] > 0] = 7
    _, labels = whole(volume, recipe, stage)
    assert set(labels.unique().tolist()) == {0, 1}
    assert (labels > 0).sum() == (volume.labels > 0).sum()
