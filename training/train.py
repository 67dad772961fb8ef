"""Train: `python -m training.train RECIPE --data DATA --out RUN`. Stops and goes on at any moment.

DATA is a folder of scans and labels, or a pack of them (`training.pack`); with a pack nothing but torch and numpy is
needed. RUN gets `checkpoint.pt` (everything needed to go on), `averaged.pt` (the weights to ship), `metrics.csv`,
`evaluations.csv` and, per evaluation, slices to look at; `training.pictures` draws them, here too if it can.
"""

import argparse
import ctypes
import fcntl
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from training.arithmetic import autocast, use_threads
from training.distillation import check_shapes, distilled_levels
from training.evaluate import Evaluation, evaluate, normalised
from training.losses import Targets, counted, segmentation_loss
from training.networks import build_network
from training.networks.fixed_norm import FixedNorm
from training.optimiser import build_optimisers
from training.recipe import Optimiser, Recipe, Stage, as_table, changed_fields, load_recipe, saved_recipe
from training.run_files import (
    AVERAGED,
    CHECKPOINT,
    CURVES,
    EVALUATIONS,
    HISTORY,
    METRICS,
    PAST,
    SLICES,
    append_row,
    forget_rows_after,
    has_row,
    is_table,
    read_past,
    read_saved,
)
from training.sample import Sampler
from training.start import read_start, start_name
from training.teacher import Teacher
from training.transplant import fitted, with_more_classes
from training.volumes import DataError, Volumes
from training.weighted_loss import warm_up_share, weighted_loss

LOG_EVERY = 20
MOST_SKIPPED = 15  # of LOG_EVERY steps; as many left out end the run
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's mallopt(3)
PREFETCHED = 4

LoadVolumes = Callable[[Recipe, Stage, bool], Volumes]  # ..., of the fold's patients or of those to train on


class Batch(NamedTuple):
    """images: (batch, 1, z, y, x) float32 HU. labels: (batch, z, y, x) uint8. is_pseudo: (batch,) bool, samples whose
    labels a network has made."""

    images: Tensor
    labels: Tensor
    is_pseudo: Tensor


class Steps(Dataset[Batch]):
    """Batches of a stage by step."""

    def __init__(self, volumes: Volumes, recipe: Recipe, number: int) -> None:
        self._sampler = Sampler(volumes, recipe, recipe.stages[number])
        self._seed, self._number, self._batch = recipe.seed, number, recipe.stages[number].batch

    def __getitem__(self, step: int) -> Batch:
        generators = [np.random.default_rng([self._seed, self._number, step, i]) for i in range(self._batch)]
        samples = (self._sampler.draw_with_origin(generator) for generator in generators)
        images, labels, is_pseudo = zip(*samples, strict=True)
        return Batch(torch.stack(images)[:, None], torch.stack(labels), torch.tensor(is_pseudo))


def batches(volumes: Volumes, recipe: Recipe, number: int, first: int, workers: int) -> Iterator[Batch]:
    """The batches of stage `number` from step `first` to its end, prepared by worker processes beside the network."""
    steps = range(first, recipe.stages[number].steps)
    loader = DataLoader(
        Steps(volumes, recipe, number),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        multiprocessing_context="fork" if workers else None,  # volumes in memory are shared, not copied
        worker_init_fn=_outlive_signals,
    )
    yield from loader


def _outlive_signals(_: int) -> None:
    """A terminal and most schedulers tell all processes of a run to end; the one that saves it ends the others."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def learning_rate(step: int, stage: Stage, choice: Optimiser) -> float:
    """Linear warm-up, then half a cosine, or nnU-Net's polynomial, that is zero one step after the stage's last."""
    rising = min(1.0, (step + 1) / choice.warm_up_steps)
    share = step / stage.steps
    falling = (1 - share) ** 0.9 if choice.schedule == "polynomial" else 0.5 * (1 + math.cos(math.pi * share))
    return stage.learning_rate * rising * falling


class Run:
    """A training run on disk: network, averaged network, optimiser, and where it stands."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        device: torch.device,
        teacher: Teacher | None = None,
        *,
        model: nn.Module | None = None,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device, self.teacher, self.model = recipe, out, device, teacher, model
        self.network = build_network(recipe.network, recipe.classes).to(device)
        # use_buffers: a norm's running statistics are averaged as its weights are
        self.averaged = AveragedModel(self.network, avg_fn=self._average, use_buffers=True)
        self.optimisers = build_optimisers(self.network, self.network.ends, recipe.optimiser)
        self._levels = torch.compile(self.network.levels) if compiled else self.network.levels
        self.stage = self.step = 0
        self.seconds = 0.0
        self.started_from = ""
        self.history: list[dict[str, Any]] = []  # see training.run_files
        self.losses: list[float] = []  # since the last row of the metrics
        self.skipped = 0  # likewise
        self.stopped = False  # somebody wants this process to end
        out.mkdir(parents=True, exist_ok=True)

    def _average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.recipe.optimiser.average_decay, (1 + float(count)) / (10 + float(count)))
        return averaged + (1 - decay) * (current - averaged)

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one. A run that has ended goes on when its recipe gets a stage.

        Without one the run begins, and the tables of an earlier beginning are removed. ValueError where the recipe is
        another one, where there are weights that came without a checkpoint (going on would write over them), and where
        a table is of something else.
        """
        path = self.out / CHECKPOINT
        if not path.exists():
            if (self.out / HISTORY).exists() or (self.out / AVERAGED).exists():
                raise ValueError(f"{self.out} has weights and no checkpoint; begin another run with --start-from them")
            tables = [self.out / name for name in (METRICS, EVALUATIONS)]
            for table in tables:
                if not is_table(table):
                    raise ValueError(f"{table}: exists and is of no run; choose another --out")
            if (self.out / CURVES).exists() and not any(table.exists() and table.stat().st_size for table in tables):
                raise ValueError(f"{self.out / CURVES}: exists and is of no run; choose another --out")
            for path in (*tables, self.out / CURVES):
                path.unlink(missing_ok=True)
            return
        state: dict[str, Any] = read_saved(path)
        needed = {*PAST, "network", "averaged", "optimisers", "losses", "skipped"}
        if missing := needed - (state.keys() if isinstance(state, dict) else set()):
            raise ValueError(
                f"{path}: has no {min(missing)}, so it is of another version; begin a run from its {AVERAGED}"
            )
        changed = changed_fields(state["recipe"], as_table(self.recipe))
        if changed:
            raise ValueError(f"{self.out} was begun with another recipe ({', '.join(changed)}); begin a run of its own")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        for optimiser, past in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(past)
        for name in (*PAST[1:], "losses", "skipped"):
            setattr(self, name, state[name])
        for name in (METRICS, EVALUATIONS):
            forget_rows_after(self.out / name, self._reached)

    def start_from(self, weights: Path, *, what_fits: bool = False) -> None:
        """Begins with another run's averaged weights or a bundle's, of a network of the same channels.

        what_fits: of another network, those that `training.transplant.fitted` finds, whatever its scale of HU.

        A run that has begun with them goes on. ValueError, FileNotFoundError or app's SetupError if it began with
        others, if there are none, if they are of another network (its strides may differ) or another scale of HU, or
        if they have seen patients whom this run holds out.
        """
        if (self.out / CHECKPOINT).exists():
            began, name = read_past(self.out)["started_from"], start_name(weights)
            if began != name:
                raise ValueError(f"{self.out} began with {began or 'no weights'}, not {name}; begin another run")
            return
        start = read_start(weights, self.recipe.role)
        refuse_the_fold(weights, start.history, self.recipe)
        if start.intensity != self.recipe.intensity and not what_fits:
            raise ValueError(
                f"{weights}: trained on {start.intensity}, the recipe has {self.recipe.intensity}; to begin with "
                "what fits of them all the same say --what-fits"
            )
        begun = with_more_classes(start.weights, self.network, self.network.ends)
        if what_fits:
            begun = fitted(begun, self.network)
            if not begun:
                raise ValueError(f"{weights}: none of its tensors fits one of the recipe's network")
            print(f"of {weights} {len(begun)} of {len(start.weights)} tensors fit")
        try:
            self.network.load_state_dict(begun, strict=not what_fits)
        except RuntimeError as error:
            raise ValueError(
                f"{weights}: of another network than the recipe's {self.recipe.network}: "
                f"{' '.join(str(error).split()[:60])}"
            ) from error
        self.averaged.module.load_state_dict(self.network.state_dict())
        self.history, self.started_from = start.history, start.name

    def save(self) -> None:
        """Both files are written beside their targets and renamed, so that a kill never leaves half of one."""
        past = {name: getattr(self, name) for name in (*PAST[1:], "losses", "skipped")}
        state = {
            "recipe": as_table(self.recipe),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            **past,
        }
        contents = {CHECKPOINT: state, AVERAGED: self.averaged.module.state_dict()}
        for name, content in contents.items():
            torch.save(content, self.out / f"{name}.partial")
        for name in contents:
            os.replace(self.out / f"{name}.partial", self.out / name)

    def lock(self) -> None:
        """This process alone; ValueError if another one trains here. Let go when it and its workers have ended,
        however they end."""
        lock = os.open(self.out / "lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{self.out}: another process trains this run") from error

    def train(self, load: LoadVolumes, workers: int) -> None:
        """Every stage from where the run stands to the end."""
        while self.stage < len(self.recipe.stages):
            self._train_stage(load, workers)
            self.stage, self.step = self.stage + 1, 0
            self.save()

    @property
    def _reached(self) -> tuple[int, int]:
        return self.stage, self.step

    def _train_stage(self, load: LoadVolumes, workers: int) -> None:
        stage = self.recipe.stages[self.stage]
        fold = load(self.recipe, stage, True) if stage.hold_out else None
        volumes = load(self.recipe, stage, False)
        self._begin(stage, volumes, fold)
        begins_with_weights = bool(self.started_from) and self._reached == (0, 0)
        if (
            fold is not None
            and (self.step or begins_with_weights)
            and self._is_evaluated(stage)
            and not has_row(self.out / EVALUATIONS, self._reached)
        ):
            self._evaluate(fold, stage)  # a kill came in between
        saved = started = time.monotonic()
        first, before, before_stage = self.step, self.seconds, self.history[-1]["seconds"]
        for batch in batches(volumes, self.recipe, self.stage, self.step, workers):
            rate = learning_rate(self.step, stage, self.recipe.optimiser)
            self._one_step(Batch(*(tensor.to(self.device) for tensor in batch)), rate)
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - started
            self.history[-1] |= {"steps": self.step, "seconds": before_stage + now - started}
            if self.step % LOG_EVERY == 0:
                pace = (now - started) / (self.step - first)
                self._log_metrics(stage, rate, pace * (stage.steps - self.step))
            due = fold is not None and self._is_evaluated(stage)
            if due or now - saved > 60 * self.recipe.checkpoint_minutes:
                self.save()
                saved = now
            if fold is not None and due:
                self._evaluate(fold, stage)
            if self.stopped:
                self.save()
                raise SystemExit(f"{self.out}: stopped at step {self.step} of stage {stage.name}; the command goes on")
        if self.losses or self.skipped:
            self._log_metrics(stage, learning_rate(stage.steps - 1, stage, self.recipe.optimiser), 0.0)

    def _begin(self, stage: Stage, volumes: Volumes, fold: Volumes | None) -> None:
        """A stage begins where the average stands, and averages anew. Whom it shows is written down.

        DataError if it goes on with other scans than it began with, or if the fold's have been trained on.
        """
        seen = {name for entry in self.history for name in entry["scans"]} & {*(fold.names if fold else ())}
        if seen:
            raise DataError(f"{self.out}: {', '.join(sorted(seen))} of the fold were trained on before")
        shown = {"scans": list(volumes.names), "patients": sorted(set(volumes.patients))}
        if self.step:
            before = set(self.history[-1]["scans"])
            if before != set(volumes.names):
                odd = ", ".join(sorted(before ^ set(volumes.names)))
                raise DataError(f"{self.out}: stage {stage.name} was begun with other scans; differing: {odd}")
            return
        if self.stage > 0:
            self.network.load_state_dict(self.averaged.module.state_dict())
            self.averaged.n_averaged.zero_()
        began = {"run": self.out.name, "name": stage.name, "steps": 0, "seconds": 0.0}
        masks = {"reference_masks": self.recipe.data.reference_masks}
        self.history.append({**began, **shown, **self.recipe.data.without, **masks})

    def _is_evaluated(self, stage: Stage) -> bool:
        return self.step == stage.steps or (stage.evaluate_every is not None and self.step % stage.evaluate_every == 0)

    def _one_step(self, batch: Batch, rate: float) -> None:
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        # what the network itself draws is the same after a resume
        torch.manual_seed(self.recipe.seed + 1_000_003 * self.stage + self.step)
        self.network.zero_grad(set_to_none=True)
        with autocast(self.device):
            levels, distance = self._answers(normalised(batch.images, self.recipe.intensity))
        loss = self._loss(levels, batch) + self.recipe.loss.distillation_weight * distance
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.gradient_norm)
        if not torch.isfinite(norm):  # one such step would end the run; that it was left out is said and counted
            self.skipped += 1
            if self.skipped == MOST_SKIPPED:
                raise ArithmeticError(
                    f"{self.out}: {MOST_SKIPPED} of at most {LOG_EVERY} gradients were not finite; lower the learning "
                    "rate of the stage and begin another run from weights that are"
                )
            print(f"step {self.step}: the gradient is not finite, step left out", flush=True)
            return
        for optimiser in self.optimisers:
            optimiser.step()
        self.averaged.update_parameters(self.network)
        self.losses.append(float(loss.detach()))

    def _loss(self, levels: list[Tensor], batch: Batch) -> Tensor:
        choice, labels = self.recipe.loss, batch.labels.long()
        if choice.kind != "weighted":
            return segmentation_loss(levels, Targets(labels, self._soft_targets(batch.images, labels)), choice)
        steps = sum(stage.steps for stage in self.recipe.stages[: self.stage]) + self.step
        return weighted_loss(
            counted(levels, choice),
            labels,
            batch.is_pseudo,
            dice_weights=choice.dice_weights,
            class_weights=choice.class_weights,
            share=warm_up_share(steps, choice.warm_up_steps),
        )

    def _answers(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Scores of every level, and how far the deepest features are from those of the network to learn from."""
        if self.model is None:
            return self._levels(images), images.new_zeros(())
        return distilled_levels(self.network, self.model, images)

    def _soft_targets(self, images: Tensor, labels: Tensor) -> Tensor | None:
        stage = self.recipe.stages[self.stage]
        if self.teacher is None or not self.recipe.loss.needs_teacher or not stage.asks_teacher:
            return None
        return self.teacher.probabilities(images, stage.spacing_mm, labels.shape[1:])

    def _evaluate(self, fold: Volumes, stage: Stage) -> None:
        folder = self.out / SLICES
        folder.mkdir(exist_ok=True)
        picture = folder / f"{self.stage}-{stage.name}-{self.step:06}.npz"
        result = evaluate(self.averaged.module, fold, self.recipe, stage, self.device, picture)
        self._log_evaluation(stage, result)
        try:
            from training.pictures import draw

            draw(self.out)
        except ImportError:  # no matplotlib, as on a machine that has only what a pack needs
            return
        except (OSError, ValueError, BadZipFile) as error:  # a picture is not worth a run
            print(f"no picture: {error}", flush=True)

    def _log_metrics(self, stage: Stage, rate: float, left: float) -> None:
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        row = [*self._reached, stage.name, round(self.seconds), f"{rate:.3g}", f"{loss:.4f}", self.skipped]
        append_row(self.out / METRICS, ["stage", "step", "name", "seconds", "learning_rate", "loss", "skipped"], row)
        print(f"{stage.name}: step {self.step}/{stage.steps}, loss {loss:.3f}, {left / 60:.0f} min left", flush=True)
        self.losses, self.skipped = [], 0

    def _log_evaluation(self, stage: Stage, result: Evaluation) -> None:
        organs = range(1, self.recipe.classes)
        values = [f"{result.dice[organ]:.4f}" if organ in result.dice else "" for organ in organs]
        row = [*self._reached, stage.name, round(self.seconds), f"{result.mean:.4f}", result.false_alarms, *values]
        header = ["stage", "step", "name", "seconds", "mean_dice", "false_alarms", *map(str, organs)]
        append_row(self.out / EVALUATIONS, header, row)
        print(
            f"{stage.name}: step {self.step}/{stage.steps}, fold's mean Dice {result.mean:.3f}, "
            f"{result.false_alarms} organs seen that are not there",
            flush=True,
        )


def volumes_of(data: Path) -> LoadVolumes:
    """How the volumes in `data`, a pack or a folder of scans and labels, are loaded."""
    from training.pack import is_pack, open_pack

    if is_pack(data):
        return open_pack(data).volumes
    from training.prepare import Prepared  # needs what app needs: SimpleITK, nibabel

    return Prepared(data).volumes


def main() -> None:
    """Parses the arguments and trains, from where the run stands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="TOML, or the JSON that a pack has of it")
    parser.add_argument("--data", type=Path, required=True, help="folder of scans and labels, or a pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; a run found there goes on")
    parser.add_argument("--start-from", type=Path, help="averaged.pt of another run, or a bundle's folder")
    parser.add_argument(
        "--what-fits", action="store_true", help="with --start-from: another network's weights that fit"
    )
    parser.add_argument("--teacher", type=Path, help="folder that training.teacher wrote, if the recipe wants one")
    parser.add_argument("--distil-from", type=Path, help="another run, whose features are learnt, if the recipe asks")
    parser.add_argument("--workers", type=int, help="processes that draw samples (default: 1; all cores beside a GPU)")
    parser.add_argument("--threads", type=int, help="of the network on a CPU (default: the recipe's)")
    parser.add_argument("--no-compile", action="store_true", help="on a GPU, where there is no C compiler")
    arguments = parser.parse_args()
    _keep_memory()
    try:
        run, load = _set_up(arguments)
    except _refusals(OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    workers = arguments.workers
    if workers is None:
        workers = 1 if run.device.type == "cpu" else max(1, (os.cpu_count() or 2) - 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(run, "stopped", True))
    try:
        run.train(load, workers)
        print(f"{run.out}: done; training.export makes a bundle of it")
    # a loss without end, a scan that cannot be read, data that do not fit the recipe, a full disk
    except _refusals(ArithmeticError, DataError, OSError) as error:
        parser.exit(2, f"{error}\n")


def _keep_memory() -> None:
    """Blocks that a step lets go of are kept for the next one, where glibc would give them back and get them anew.

    That was 300,000 page faults a step: on two cores 1.31 s in place of 1.59 (batch 2 of 64x80x96 voxels). The price:
    this process, and each worker that it forks, keeps its peak of memory to its end.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return
    mallopt(M_MMAP_MAX, 0)  # blocks come from the heap, not from mappings of their own
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 2**29)


def _set_up(arguments: argparse.Namespace) -> tuple[Run, LoadVolumes]:
    """The run, resumed if it has begun, and where its volumes come from."""
    recipe = load_recipe(arguments.recipe)
    if arguments.what_fits and not arguments.start_from:
        raise ValueError("--what-fits goes with --start-from")
    if recipe.loss.needs_teacher and not arguments.teacher:
        raise ValueError(f"{arguments.recipe}: field loss asks for a teacher; name it with --teacher")
    if bool(recipe.loss.distillation_weight) != bool(arguments.distil_from):
        raise ValueError(f"{arguments.recipe}: loss.distillation_weight and --distil-from go together")
    load = volumes_of(arguments.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_threads(arguments.threads or recipe.threads)
    teacher = Teacher(arguments.teacher, device) if recipe.loss.needs_teacher else None
    # compiled where it pays: on two CPU cores it gains nothing and costs 25 s
    compiled = device.type == "cuda" and not arguments.no_compile
    model = model_to_learn_from(arguments.distil_from, recipe).to(device) if arguments.distil_from else None
    run = Run(recipe, arguments.out, device, teacher, model=model, compiled=compiled)
    run.lock()
    if arguments.start_from:
        run.start_from(arguments.start_from, what_fits=arguments.what_fits)
    run.resume()
    if not all(module.is_measured for module in run.network.modules() if isinstance(module, FixedNorm)):
        raise ValueError(
            f"{arguments.recipe}: field network.fixed_levels: those norms have not been measured; --start-from what "
            "training.fix_norms wrote"
        )
    seen = {name for entry in run.history for name in entry["scans"]}
    print(f"begins with {run.started_from or 'random weights'}, {len(seen)} scans seen so far", flush=True)
    return run, load


def refuse_the_fold(source: Path, history: list[dict[str, Any]], recipe: Recipe) -> None:
    """ValueError where weights have seen, as their history says, patients whom the recipe holds out."""
    seen = {patient for entry in history for patient in entry["patients"]} & {*recipe.data.fold_patients}
    if seen and any(stage.hold_out for stage in recipe.stages):
        raise ValueError(f"{source}: trained on {', '.join(sorted(seen))}, whom this recipe holds out")


def model_to_learn_from(run: Path, student: Recipe) -> nn.Module:
    """The network of another run with its averaged weights, in eval mode, whose features `student` can learn.

    ValueError or FileNotFoundError: no run, another scale of HU, features of other shapes, or one that was trained on
    patients whom the student holds out.
    """
    past = read_past(run)
    recipe = saved_recipe(past["recipe"])
    refuse_the_fold(run, past["history"], student)
    if recipe.intensity != student.intensity:
        raise ValueError(f"{run}: trained on {recipe.intensity}, the recipe has {student.intensity}")
    try:
        check_shapes(student, recipe)
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    network = build_network(recipe.network, recipe.classes)
    network.load_state_dict(read_saved(run / AVERAGED))
    return network.eval().requires_grad_(requires_grad=False)


def _refusals(*kinds: type[Exception]) -> tuple[type[Exception], ...]:
    """These and what `app` raises for a user's mistake, if it is in use: beside a pack it is not even imported."""
    errors = sys.modules.get("app.errors")
    return kinds if errors is None else (*kinds, errors.VisceraError)


if __name__ == "__main__":
    main()
