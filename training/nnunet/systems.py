"""Systems: the text of the system files that run an imported model."""

import json
import math
import re
from collections.abc import Sequence

from app.models.bundle import AXES
from app.system.definition import SYSTEMS
from app.system.toml_file import read_toml
from training.nnunet.plans import Plan

ABDOMEN = re.compile(
    r"(^|_)(liver|kidneys?|spleen|pancreas|aorta|(inferior_)?vena_cava|adrenals?|gallbladder|gall_bladder|esophagus|"
    r"oesophagus|stomach|duodenum)(_|$)"
)

STAGE = """
[stage.segment]
{sees}bundle = {bundle}
{others}engine = "{engine}"
precision = "f32"
{mirrored}
[result]
of = "segment"
"""
AS_IT_IS = """
[posture]
as_it_is = true # the voxels that the network sees are nnU-Net's
"""
LOCATED = """
[stage.locate]
{stage}
[region.abdomen]
{region}at_least_mm = {window_mm} # a window of the network: it sees the body, not what a box is filled up with
"""


def beyond_the_abdomen(plan: Plan) -> list[str]:
    """Labels whose names are of no abdominal organ that the localiser knows: its box may leave them out."""
    return [name for name in plan.labels[1:] if not ABDOMEN.search(name)]


def own_system(plan: Plan, bundles: Sequence[str], mirror_axes: Sequence[int]) -> str:
    """nnU-Net's own steps, in float32. bundles: whose scores are averaged. mirror_axes: of (z, y, x); none for none."""
    folds = f", {len(bundles)} folds averaged" if len(bundles) > 1 else ""
    mirrored = ", mirrored" if mirror_axes else ""
    title = f"{_title(plan)} with nnU-Net's own steps{folds}{mirrored}, in float32"
    return _head(title) + _stage(bundles, "", mirror_axes) + AS_IT_IS


def fast_system(plan: Plan, bundles: Sequence[str], mirror_axes: Sequence[int]) -> str:
    """This project's steps on the same network; in the box of the abdomen where no label can lie beyond it."""
    located = not beyond_the_abdomen(plan)
    title = f"{_title(plan)} with our own steps{' in the box of the abdomen' if located else ''}, in float32"
    sees = 'sees = "abdomen"\n' if located else ""
    return _head(title) + (_located(plan) if located else "") + _stage(bundles, sees, mirror_axes)


def int8_system(name: str, text: str) -> str:
    """The same system with the INT8 layers. name: of its file. text: what is in it."""
    title = next(line for line in text.splitlines() if line.startswith("title = "))
    engine = 'engine = "openvino-int8"'
    return f'extends = "{name}"\n{title.replace("in float32", "in INT8")}\n\n[stage.segment]\n{engine}\n'


def _located(plan: Plan) -> str:
    """The default system's first stage and region, whose figures are known there alone."""
    default = read_toml(SYSTEMS / "viscera.toml")
    stage, region = (
        "".join(f"{name} = {_text(value)}\n" for name, value in table.items())
        for table in (default["stage"]["locate"], default["region"]["abdomen"])
    )
    window_mm = [math.ceil(side * mm) for side, mm in zip(plan.window, plan.spacing_mm, strict=True)]
    return LOCATED.format(stage=stage, region=region, window_mm=window_mm)


def _title(plan: Plan) -> str:
    """Words of others, in letters that cannot end a line or a text."""
    data_set, configuration = (re.sub(r"[^\w .-]+", " ", text)[:60] for text in (plan.data_set, plan.configuration))
    return f"nnU-Net's {data_set}, {configuration},"


def _head(title: str) -> str:
    return f"# Written by training.import_nnunet.\ntitle = {_text(title)}\n"


def _stage(bundles: Sequence[str], sees: str, mirror_axes: Sequence[int]) -> str:
    first, *others = bundles
    mirrored = [AXES[axis] for axis in mirror_axes]
    return STAGE.format(
        sees=sees,
        bundle=_text(first),
        others=f"with_bundles = [{', '.join(map(_text, others))}]\n" if others else "",
        engine="openvino-float32",
        mirrored=f"mirror_axes = [{', '.join(map(_text, mirrored))}]\n" if mirrored else "",
    )


def _text(value: str | float) -> str:
    """As JSON has it, and TOML likewise."""
    return json.dumps(value, ensure_ascii=False)
