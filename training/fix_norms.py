"""Fix norms: `python -m training.fix_norms RECIPE --run RUN --data DATA --out NEW`. Instance norms become fixed ones.

An instance norm takes its mean and variance from the window that it is shown. Here those of a run's finest levels are
measured on undisturbed samples of training, those that INT8 is calibrated on, and written down. Where voxels are most
they then are part of the convolutions. What comes out is a run of a network with `fixed_levels`, to export or to train
on from.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.errors import VisceraError
from training.export import calibration_inputs, past_in_last_stage
from training.networks import build_network
from training.recipe import Recipe, as_table, load_recipe
from training.run_files import AVERAGED, read_saved, write_run
from training.start import start_name

INSTANCE = "instance"


def fix_norms(recipe: Recipe, run: Path, data: Path, out: Path, levels: int = 1) -> None:
    """A new run in `out`: that of `recipe`, whose network has instance norms, with fixed ones in its finest levels.

    ValueError for a network of other norms, for a run of another recipe or before its last stage, for levels that
    there are not, and where `out` is there already.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    if (recipe.network.kind, recipe.network.norm, recipe.network.fixed_levels) != ("half-resolution", INSTANCE, 0):
        raise ValueError(f'{recipe.name}: needs a half-resolution network of norm = "{INSTANCE}", none of them fixed')
    fixed = replace(recipe, network=replace(recipe.network, fixed_levels=levels))
    if levels < 1:
        raise ValueError(f"levels must be 1 or more, found {levels}")
    past = past_in_last_stage(recipe, run)  # of whose grid the samples are
    network = build_network(recipe.network, recipe.classes)
    network.load_state_dict(read_saved(run / AVERAGED))
    samples = calibration_inputs(recipe, data, recipe.export.calibration_samples)
    weights = network.state_dict() | statistics(network, samples)
    wanted = build_network(fixed.network, fixed.classes).state_dict()
    named = f"{start_name(run / AVERAGED)}, norms fixed in its finest levels: {levels}"
    new = {"recipe": as_table(fixed), "started_from": named}
    write_run(out, {name: weights[name] for name in wanted}, past | new)


def statistics(network: nn.Module, samples: Iterable[NDArray[np.float32]]) -> dict[str, Tensor]:
    """`mean` and `variance` by the name of each instance norm of the network: means of what it saw in the samples.

    samples: volumes (1, 1, z, y, x) as the network is given them. The network is left in eval mode.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3, 4), correction=0)
        seen.setdefault(name, []).append((mean, variance))

    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.InstanceNorm3d)}
    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in norms.items()]
    network.eval()
    try:
        with torch.inference_mode():
            for sample in samples:
                network(torch.from_numpy(sample))
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[str, Tensor] = {}
    for name, pairs in seen.items():
        means, variances = zip(*pairs, strict=True)
        found |= {f"{name}.mean": torch.stack(means).mean(0), f"{name}.variance": torch.stack(variances).mean(0)}
    return found


def main() -> None:
    """Parses the arguments, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="TOML file under training/recipes, of the run")
    parser.add_argument("--run", type=Path, required=True, help="folder that training.train or training.average wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder of scans and labels, or a pack")
    parser.add_argument("--out", type=Path, required=True, help="a new run")
    parser.add_argument("--levels", type=int, default=1, help="of the finest (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        fix_norms(load_recipe(arguments.recipe), arguments.run, arguments.data, arguments.out, arguments.levels)
    except (VisceraError, ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{arguments.out}: the same weights; its recipe is that one with network.fixed_levels = {arguments.levels}")


if __name__ == "__main__":
    main()
