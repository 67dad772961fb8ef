"""Models whose answers are known: tissue is liver, bone is spleen. No weights, no engine, milliseconds.

The two bundles differ in every field that may differ, and along every axis: one taken for the other shows.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from app.models.bundle import Bundle, Intensity, Window
from app.models.engine import Model
from training.recipe import CHALLENGE_LABELS

LOCALISER = Bundle(
    name="localiser",
    role="localiser",
    axes="zyx",
    labels=CHALLENGE_LABELS,
    intensity=Intensity(-1200, 1500, 300, 200),
    files={"openvino-int8": {"coarse.xml": "1", "coarse.bin": "2"}},
    training={"scans": ["a"]},
    accuracy={"recall": 0.99},
    shape=(32, 16, 48),
)
FINE = Bundle(
    name="fine",
    role="fine",
    axes="zyx",
    labels=CHALLENGE_LABELS,
    intensity=Intensity(-1024, 3000, -50, 10),
    files={"openvino-float32": {"model.xml": "3", "model.bin": "4"}},
    training={"scans": ["a", "b"]},
    accuracy={"dice": 0.9},
    spacing_mm=(4.0, 3.0, 2.0),
    window=Window((32, 48, 64), (16, 16, 32), 16, 0.75),
)


def table_of(bundle: Bundle) -> dict[str, Any]:
    """As `bundle.json` has it: what is not said is not there."""

    def said(table: dict[str, Any]) -> dict[str, Any]:
        parts = {name: said(value) if isinstance(value, dict) else value for name, value in table.items()}
        return {name: value for name, value in parts.items() if value is not None}

    return {name: value for name, value in said(asdict(bundle)).items() if value != "" and name != "folder"}


def tissue_is_liver(bundle):
    """Background scores 0; liver wins above -480 HU, midway between air and tissue, spleen above 680 HU.

    HU as they were before normalising with the bundle's intensities: with others, everything is liver or nothing.
    """

    def engine(volume):
        hu = volume * bundle.intensity.deviation + bundle.intensity.mean
        scores = np.full((14, *volume.shape), -1e4, np.float32)
        scores[0] = 0
        scores[1] = hu + 480
        scores[3] = 2 * hu - 200
        return scores

    return engine


def nothing(volume):
    scores = np.zeros((14, *volume.shape), np.float32)
    scores[0] = 1
    return scores


def known_models(localiser=None, fine=None):
    """Of the stages of the default system."""
    return {
        "locate": Model(LOCALISER, localiser or tissue_is_liver(LOCALISER)),
        "segment": Model(FINE, fine or tissue_is_liver(FINE)),
    }
