from dataclasses import replace

import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.system.definition import WEIGHTS
from evaluation.benchmark.prepared import training_window


def test_the_patch_of_training():
    assert training_window(load_bundle(WEIGHTS / "fine")) == [112, 160, 128]


@pytest.mark.parametrize("training", [{}, {"recipe": "fine.toml"}, {"patch": [80, 112]}, {"patch": [80, 112, "144"]}])
def test_a_bundle_that_names_no_patch_needs_a_window(training):
    bundle = replace(load_bundle(WEIGHTS / "fine"), training=training)
    with pytest.raises(SetupError, match="say --window"):
        training_window(bundle)
