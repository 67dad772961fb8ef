"""A made-up folder of systems and bundles, to be listed, packed and measured. No engine could read their files."""

import hashlib
import json
from pathlib import Path

TINY_FILES = {  # bytes
    "openvino-int8": {"small.xml": 100_000, "small.bin": 400_000},
    "openvino-float32": {"large.xml": 100_000, "large.bin": 900_000},
    "torchscript": {"model.pt": 700_000},
}
LABELS = ("background", "liver", "inferior_vena_cava")

OURS = """\
title = "a coarse model, then a fine one"

[stage.locate]
bundle = "coarse"
engine = "openvino-int8"
precision = "f32"

[region.abdomen]
of = "locate"
rule = "margin-box"
margin_mm = 20

[stage.segment]
sees = "abdomen"
bundle = "fine"
engine = "openvino-int8"
precision = "f32"

[result]
of = "segment"
"""
TWICE = """\
title = "two tumour models beside one of organs, one of which is used twice"

[stage.search]
bundle = "organs"
engine = "openvino-int8"
precision = "f32"

[stage.search.walk]
rule = "until-organ"
label = "liver"
min_ml = 1

[region.height]
of = "search"
rule = "margin-box"
margin_mm = 0

[stage.organs]
sees = "height"
bundle = "organs"
engine = "openvino-int8"
precision = "f32"

[stage.tumours]
bundle = "tumour-1"
with_bundles = ["tumour-2"]
engine = "openvino-int8"
precision = "f32"

[merge.both]
of = ["organs", "tumours"]
rule = "overlay"
labels = ["tumour"]

[result]
of = "both"
"""
SYSTEMS = {
    "ours": OURS,
    "ours-float32": 'extends = "ours"\ntitle = "in float32"\n[stage.segment]\nengine = "openvino-float32"\n',
    "ours-torch": 'extends = "ours"\ntitle = "in torch"\n[stage.segment]\nengine = "torchscript"\n',
    "twice": TWICE,
    "lost": OURS.replace('"fine"', '"lost"'),
    "torn": "title = [",
}


def save_bundle(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """A bundle whose files hold zeros; `TINY_FILES` has their sizes."""
    folder.mkdir(parents=True)
    files = {}
    for engine, sizes in TINY_FILES.items():
        files[engine] = {name: hashlib.sha256(bytes(size)).hexdigest() for name, size in sizes.items()}
        for name, size in sizes.items():
            (folder / name).write_bytes(bytes(size))
    table = {
        "name": folder.name,
        "role": "fine",
        "axes": "zyx",
        "labels": labels,
        "intensity": {"low": -160, "high": 240, "mean": 40, "deviation": 100},
        "spacing_mm": [2, 2, 2],
        "window": {"largest": [32, 32, 32], "smallest": [32, 32, 32], "multiple": 16, "step": 0.5},
        "files": files,
        "training": {},
        "accuracy": {},
    }
    (folder / "bundle.json").write_text(json.dumps(table))
    return folder


def save_project(folder: Path) -> Path:
    """`systems` and `weights`, the bundle `lost` missing."""
    for name in ("coarse", "fine", "organs", "unused"):
        save_bundle(folder / "weights" / name)
    for name in ("tumour-1", "tumour-2"):
        save_bundle(folder / "weights" / name, ("background", "tumour", "liver"))
    (folder / "systems").mkdir()
    for name, text in SYSTEMS.items():
        (folder / "systems" / f"{name}.toml").write_text(text)
    return folder
