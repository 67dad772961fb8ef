"""Phase one: a system's localiser and the rule of its box, without the rest of the pipeline."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError
from app.grid import Box
from app.models.bundle import load_bundle
from app.models.engine import Model, load_engine
from app.run.stage import Answer, run_stage
from app.steps.resample import use_threads
from app.system.definition import SCAN, Stage, System
from app.system.rules import Locating, Seen
from evaluation.maintenance.bodies import Case


@dataclass(frozen=True, slots=True)
class Localiser:
    """Phase one as a system runs it."""

    model: Model
    stage: Stage
    rule: Locating

    def answer(self, case: Case) -> Answer:
        """What it says of the whole scan, on its own grid."""
        return run_stage(case.voxels, case.grid, None, self.stage, self.model, timed=lambda _: contextlib.nullcontext())

    def box(self, case: Case) -> Box | None:
        """The voxels it keeps."""
        return self.rule(self.answer(case).labels, case.grid, Seen(self.model.bundle.labels, located=False))


def load_localiser(stage: Stage, rule: Locating, weights: Path, threads: int) -> Localiser:
    """A stage that sees the whole scan, compiled, and the rule that takes a box of its answer."""
    use_threads(threads)
    bundle = load_bundle(weights / stage.bundle)
    engine = load_engine(bundle, stage.engine, stage.precision, threads, pinned=True)
    return Localiser(Model(bundle, engine), stage, rule)


def first_region(system: System) -> tuple[Stage, Locating]:
    """A system's first region and the stage that it is of. SetupError where it has none, or that sees a box only."""
    for region in system.region.values():
        stage = system.stage[region.of]
        if stage.sees == SCAN:
            return stage, region.rule
    raise SetupError("--system: has no region of a stage that sees the scan; name another one")
