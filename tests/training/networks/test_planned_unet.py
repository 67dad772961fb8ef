import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.planned_unet import Architecture, PlannedUNet  # noqa: E402

CUBES = 3 * ((3, 3, 3),)
PLAIN = Architecture(False, (2, 3, 4), ((1, 3, 3), *CUBES[1:]), ((1, 1, 1), (1, 2, 2), (2, 2, 2)), (2, 1, 1), (1, 2))
RESIDUAL = Architecture(True, (2, 2, 4), CUBES, ((1, 1, 1), (1, 2, 2), (2, 2, 2)), (1, 2, 1), (1, 1), stem_channels=3)


def names(plan):
    return list(PlannedUNet(plan, 5).state_dict())


@pytest.mark.parametrize("plan", [PLAIN, RESIDUAL], ids=["plain", "residual"])
def test_scores_are_as_fine_as_the_volume(plan):
    with torch.inference_mode():
        assert PlannedUNet(plan, 5)(torch.randn(1, 1, 4, 8, 12)).shape == (1, 5, 4, 8, 12)


def test_modules_have_nnu_nets_names():
    plain = names(PLAIN)
    assert plain[:4] == [
        f"encoder.stages.0.0.convs.0.{part}" for part in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")
    ]
    assert "decoder.stages.1.convs.1.norm.bias" in plain
    assert [name for name in plain if "transpconvs" in name][-1] == "decoder.transpconvs.1.bias"
    assert next(name for name in plain if "seg_layers" in name) == "decoder.seg_layers.0.weight"
    residual = names(RESIDUAL)
    assert residual[0] == "encoder.stem.convs.0.conv.weight"
    skips = [name for name in residual if "skip" in name and name.endswith("conv.weight")]
    # 3 to 2 channels; from stage to stage 2 to 2, averaged alone; 2 to 4 after averaging
    assert skips == ["encoder.stages.0.blocks.0.skip.0.conv.weight", "encoder.stages.2.blocks.0.skip.1.conv.weight"]
    assert "encoder.stages.0.blocks.0.skip.0.conv.bias" not in residual


def test_a_residual_block_adds_what_came_in():
    """Convolutions of zeros: what comes out is the leaky ReLU of what came in."""
    plan = Architecture(True, (1, 1), CUBES[:2], ((1, 1, 1), (2, 2, 2)), (1, 1), (1,))
    block = PlannedUNet(plan, 2).encoder.stages[1].blocks[0]
    for unit in (block.conv1, block.conv2):
        torch.nn.init.zeros_(unit.conv.weight)
        torch.nn.init.zeros_(unit.conv.bias)
    volume = torch.tensor([1.0, -3.0, 2.0, 0.0, 1.0, 1.0, 1.0, 5.0]).reshape(1, 1, 2, 2, 2)
    volume = torch.cat([volume, -volume], 4)  # of one voxel there is no instance norm
    assert block(volume).flatten().tolist() == pytest.approx([1.0, -0.01])  # means of eight


def test_batch_norm_uses_what_training_saw():
    plan = Architecture(False, (1, 1), CUBES[:2], ((1, 1, 1), (2, 2, 2)), (1, 1), (1,), batch_norm=True)
    norm = PlannedUNet(plan, 2).eval().encoder.stages[0][0].convs[0].norm
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    assert norm(torch.full((1, 1, 1, 1, 1), 6.0)).item() == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": ((2, 2, 2), (1, 2, 2), (2, 2, 2))}, "the first stage must keep the size"),
        ({"blocks": (1, 1)}, "each with its kernel, stride and convolutions"),
        ({"kernels": ((2, 3, 3), *CUBES[1:])}, "sides must be odd"),
        (
            {"channels": (2,), "kernels": CUBES[:1], "strides": ((1, 1, 1),), "blocks": (1,), "up_blocks": ()},
            "two stages",
        ),
    ],
)
def test_plans_that_cannot_be(change, message):
    from dataclasses import replace

    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **change)
