"""Train: `python -m training.train RECIPE --data DIR --out DIR`. Stops and goes on at any moment.

Writes `checkpoint.pt` (everything needed to go on), `averaged.pt` (the weights to ship) and `metrics.csv`.
"""

import argparse
import csv
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from app.labels import CLASSES
from app.normalise import Intensity
from training.augment import draw_sample
from training.dataset import drawing_weights, load_volumes
from training.losses import segmentation_loss
from training.networks import PlainUNet
from training.recipe import Recipe, Stage, load_recipe

PREFETCHED = 4
LOG_EVERY = 20


def build_network(recipe: Recipe) -> PlainUNet:
    """An untrained network of the recipe."""
    network = recipe.network
    return PlainUNet(
        network.channels,
        len(CLASSES),
        stem_stride=network.stem_stride,
        supervised_levels=network.supervised_levels,
    )


def normalised(image: Tensor, intensity: Intensity) -> Tensor:
    """`app.normalise` for tensors: clipped HU to the network's input."""
    return (image.clamp(intensity.low, intensity.high) - intensity.mean) / intensity.deviation


def learning_rate(step: int, stage: Stage, warm_up: int) -> float:
    """Linear warm-up, then half a cosine down to zero at the stage's last step."""
    rising = min(1.0, (step + 1) / warm_up)
    return stage.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * step / stage.steps))


def batches(recipe: Recipe, number: int, data: Path, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of stage `number` from `first_step` to its end, prepared by one thread beside the network.

    Normalised images (batch, 1, z, y, x; float32) and labels (batch, z, y, x; int64).
    """
    stage = recipe.stages[number]
    volumes = load_volumes(data, stage.spacing_mm, recipe.held_out_patients, recipe.seed)
    weights = drawing_weights(volumes)
    ready: queue.Queue[tuple[Tensor, Tensor] | BaseException] = queue.Queue(PREFETCHED)

    def produce() -> None:
        try:
            for step in range(first_step, stage.steps):
                rng = np.random.default_rng([recipe.seed, number, step])
                chosen = rng.choice(len(volumes), stage.batch, p=weights)
                samples = [draw_sample(volumes[index], recipe, stage, rng) for index in chosen]
                images = torch.stack([image for image, _ in samples])[:, None]
                ready.put((normalised(images, recipe.intensity), torch.stack([labels for _, labels in samples])))
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=produce, daemon=True).start()
    for _ in range(first_step, stage.steps):
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        yield item


class Run:
    """A training run on disk: network, averaged network, optimiser, and where it stands."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device = recipe, out, device
        self.network = build_network(recipe).to(device)
        self.averaged = AveragedModel(self.network, avg_fn=self._average)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=recipe.optimiser.weight_decay)
        self.stage = self.step = 0
        self.seconds = 0.0
        self.started_from = ""
        out.mkdir(parents=True, exist_ok=True)

    def _average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.recipe.optimiser.average_decay, (1 + float(count)) / (10 + float(count)))
        return averaged + (1 - decay) * (current - averaged)

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one. A run that has ended goes on when its recipe gets a stage."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.started_from = state.get("started_from", "")

    def start_from(self, weights: Path) -> None:
        """Begins with another run's averaged weights, of a network of the same channels (its strides may differ)."""
        self.network.load_state_dict(torch.load(weights, map_location=self.device, weights_only=True))
        self.averaged.module.load_state_dict(self.network.state_dict())
        self.started_from = f"{weights.parent.name}/{weights.name}"

    def save(self) -> None:
        """Both files are written beside their targets and renamed, so that a kill never leaves half of one."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
            "started_from": self.started_from,
        }
        for name, content in (("checkpoint.pt", state), ("averaged.pt", self.averaged.module.state_dict())):
            partial = self.out / f"{name}.partial"
            torch.save(content, partial)
            os.replace(partial, self.out / name)

    def log(self, stage: Stage, loss: float, rate: float, left: float) -> None:
        path = self.out / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["stage", "step", "seconds", "learning_rate", "loss"])
            writer.writerow([stage.name, self.step, round(self.seconds), f"{rate:.3g}", f"{loss:.4f}"])
        print(f"{stage.name}: step {self.step}/{stage.steps}, loss {loss:.3f}, {left / 60:.0f} min left", flush=True)

    def train(self, data: Path) -> None:
        """Every stage from where the run stands to the end."""
        while self.stage < len(self.recipe.stages):
            self._train_stage(data)
            self.stage, self.step = self.stage + 1, 0
            self.save()

    def _train_stage(self, data: Path) -> None:
        stage = self.recipe.stages[self.stage]
        if self.step == 0 and self.stage > 0:  # the next stage begins where the average stands, and averages anew
            self.network.load_state_dict(self.averaged.module.state_dict())
            self.averaged.n_averaged.zero_()
        choice = self.recipe.optimiser
        losses: list[float] = []
        saved = started = time.monotonic()
        done_before = self.step
        before = self.seconds
        for images, labels in batches(self.recipe, self.stage, data, self.step):
            rate = learning_rate(self.step, stage, choice.warm_up_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses.append(self._one_step(images.to(self.device), labels.to(self.device)))
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - started
            if self.step % LOG_EVERY == 0:
                pace = (now - started) / (self.step - done_before)
                self.log(stage, float(np.mean(losses)), rate, pace * (stage.steps - self.step))
                losses.clear()
            if now - saved > 60 * self.recipe.checkpoint_minutes:
                self.save()
                saved = now

    def _one_step(self, images: Tensor, labels: Tensor) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            levels = self.network.levels(images)
        loss = segmentation_loss(levels, labels, self.recipe.loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.gradient_norm)
        self.optimiser.step()
        self.averaged.update_parameters(self.network)
        return float(loss.detach())


def main() -> None:
    """Parses the arguments and trains, from where the run stands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME_0000.nii.gz and NAME.nii.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; a run found there goes on")
    parser.add_argument("--start-from", type=Path, help="averaged.pt of another run, for a run that begins")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    torch.set_num_threads(recipe.threads)
    run = Run(recipe, arguments.out, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if arguments.start_from:
        run.start_from(arguments.start_from)
    run.resume()
    run.train(arguments.data)


if __name__ == "__main__":
    main()
