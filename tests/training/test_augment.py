import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training import augment  # noqa: E402


def test_mirror_swaps_paired_labels():
    image = torch.tensor([1.0, 2, 3, 4]).reshape(1, 1, 4)
    labels = torch.tensor([2, 1, 0, 13], dtype=torch.uint8).reshape(1, 1, 4)
    mirrored, swapped = augment.mirror(image, labels, ((2, 13), (7, 8)))
    assert mirrored.flatten().tolist() == [4, 3, 2, 1]
    assert swapped.flatten().tolist() == [2, 0, 1, 13]
    assert swapped.dtype == torch.uint8
    back, again = augment.mirror(mirrored, swapped, ((2, 13), (7, 8)))
    assert torch.equal(back, image)
    assert torch.equal(again, labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cut_removes_image_and_labels_alike_also_on_a_coarser_grid(axis):
    image, labels = torch.zeros(8, 8, 8), torch.ones(4, 4, 4, dtype=torch.uint8)
    got, left = augment.cut(image, labels, axis, 0.25, 0.75)
    line = got.movedim(axis, 0)[:, 0, 0].tolist()
    assert line == [-1024, -1024, 0, 0, 0, 0, -1024, -1024]
    assert left.movedim(axis, 0)[:, 0, 0].tolist() == [0, 1, 1, 0]
    assert image.abs().max() == 0
    assert labels.min() == 1


def test_a_box_of_another_image_with_its_labels_also_on_a_coarser_grid():
    image, labels = torch.zeros(8, 4, 4), torch.zeros(4, 2, 2, dtype=torch.uint8)
    other = torch.arange(128.0).reshape(8, 4, 4), torch.full((4, 2, 2), 5, dtype=torch.uint8)
    got, marked = augment.paste_box(image, labels, other, (0.25, 0, 0.5), (0.75, 1, 1))
    inside = torch.zeros(8, 4, 4, dtype=torch.bool)
    inside[2:6, :, 2:] = True
    assert torch.equal(got, torch.where(inside, other[0], image))
    assert torch.equal(marked == 5, inside[::2, ::2, ::2])
    assert image.abs().max() == 0
    assert labels.max() == 0


def test_a_box_without_a_voxel_changes_nothing():
    image, labels = torch.zeros(4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.uint8)
    other = image + 1, labels + 1
    got, marked = augment.paste_box(image, labels, other, (0, 0.5, 0), (1, 0.5, 1))
    assert torch.equal(got, image)
    assert torch.equal(marked, labels)


def test_a_removed_organ_leaves_fat_like_the_fat_around_it():
    image = torch.full((9, 9, 9), -90.0)
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    image[3:6, 3:6, 3:6] = 150
    labels[3:6, 3:6, 3:6] = 9
    labels[0, 0, 0] = 1
    got, left = augment.remove_organ(image, labels, 9)
    torch.testing.assert_close(got, torch.full_like(got, -90.0), atol=1e-3, rtol=0)
    assert left.sum() == 1
    assert image[4, 4, 4] == 150


def test_an_organ_without_fat_around_it_becomes_fat_all_the_same():
    image, labels = torch.full((5, 5, 5), 60.0), torch.zeros(5, 5, 5, dtype=torch.uint8)
    labels[2, 2, 2] = 3
    got, left = augment.remove_organ(image, labels, 3)
    assert got[2, 2, 2] == -100
    assert not left.any()


def stomach_in_fat():
    """Fat with a stomach of 60 HU, voxels 2 to 8 of 11 on each axis; labels alike."""
    image, labels = torch.full((11, 11, 11), -90.0), torch.zeros(11, 11, 11, dtype=torch.uint8)
    image[2:9, 2:9, 2:9] = 60
    labels[2:9, 2:9, 2:9] = 11
    return image, labels


def test_a_stomach_holds_fluid_below_and_gas_in_front():
    """Wall of one voxel: the lumen is 3 to 7, its front 40 % (3, 4) gas; y runs from front to back."""
    image, labels = stomach_in_fat()
    got = augment.fill_lumen(image, labels, 11, wall=(1, 1, 1), content=20.0, gas=0.4)
    # in the middle of the lumen all of the new content; at its faces two thirds, one third a voxel further out
    along_y = got[5, :, 5]
    expected = [-90, -90, 60 + (-1000 - 60) / 3, 60 + (-1000 - 60) * 2 / 3, -1000, 20, 20, 20 + 40 / 3, 60 - 40 / 3]
    torch.testing.assert_close(along_y[:9], torch.tensor(expected), atol=1e-3, rtol=0)
    assert torch.equal(got[0], image[0])
    assert image[5, 5, 5] == 60


def test_without_gas_front_and_back_are_alike():
    image, labels = stomach_in_fat()
    along_y = augment.fill_lumen(image, labels, 11, wall=(1, 1, 1), content=20.0, gas=0.0)[5, :, 5]
    torch.testing.assert_close(along_y, along_y.flip(0))
    assert along_y[2:9].min() == 20


def test_gas_that_was_there_goes_from_the_surface_on():
    image, labels = stomach_in_fat()
    image[2:9, 2:9, 2:9] = -1000
    got = augment.fill_lumen(image, labels, 11, wall=(3, 3, 3), content=20.0, gas=0.0)
    torch.testing.assert_close(got[3:8, 3:8, 3:8], torch.full((5, 5, 5), 20.0))


def test_the_noise_of_a_scan_stays_in_a_refilled_lumen():
    image, labels = stomach_in_fat()
    noisy = augment.add_noise(image, 10.0, 0)
    got = augment.fill_lumen(noisy, labels, 11, wall=(1, 1, 1), content=20.0, gas=0.0)
    inside = got[4:7, 4:7, 4:7]
    assert inside.mean().item() == pytest.approx(20, abs=3)
    assert 7 < inside.std().item() < 13


def test_a_wall_is_as_thick_as_is_asked_for_on_each_axis():
    """Of voxels 2 to 8 the lumen is 3 to 7 along z, 4 to 6 along y, 5 along x."""
    image, labels = stomach_in_fat()
    got = augment.fill_lumen(image, labels, 11, wall=(1, 2, 3), content=300.0, gas=0.0)
    changed = (got != image).nonzero()  # the lumen, and a voxel around it that is smoothed
    assert changed.amin(0).tolist() == [2, 3, 4]
    assert changed.amax(0).tolist() == [8, 7, 6]


@pytest.mark.parametrize("wall", [4, 9])
def test_an_organ_that_is_all_wall_stays(wall):
    image, labels = stomach_in_fat()
    assert torch.equal(augment.fill_lumen(image, labels, 11, wall=(wall, wall, wall), content=20.0, gas=0.5), image)


def test_an_absent_organ_has_no_lumen():
    image, labels = stomach_in_fat()
    assert torch.equal(augment.fill_lumen(image, labels, 12, wall=(1, 1, 1), content=20.0, gas=0.5), image)


def test_shift_organs_moves_an_organ_and_blurs_the_edge():
    image, labels = torch.zeros(3, 3, 8), torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]).expand(3, 3, 8)
    shifts = torch.zeros(14)
    shifts[2] = 30
    got = augment.shift_organs(image, labels, shifts)
    torch.testing.assert_close(got, torch.tensor([0.0, 0, 0, 10, 20, 30, 30, 30]).expand(3, 3, 8))


def test_change_contrast_keeps_air():
    got = augment.change_contrast(torch.tensor([-1024.0, 40, 140]), 5.0, 2.0)
    assert got.tolist() == [-1024, 45, 245]


def test_change_gamma_bends_between_two_values_only():
    got = augment.change_gamma(torch.tensor([-1024.0, -100, 0, 100, 300]), -100.0, 100.0, 2.0)
    assert got.tolist() == [-1024, -100, -50, 100, 300]


def test_thicken_slices():
    image = torch.tensor([0.0, 4, 8, 12]).reshape(4, 1, 1)
    # means 2 and 10 at 0.5 and 2.5 voxels; read at 0, 1, 2, 3
    assert augment.thicken_slices(image, 2.0).flatten().tolist() == [2, 4, 8, 10]
    assert augment.thicken_slices(image, 9.0).flatten().tolist() == [6, 6, 6, 6]


def test_lower_resolution():
    image = torch.tensor([0.0, 4, 8, 12]).reshape(1, 1, 4)
    assert augment.lower_resolution(image, 2.0).flatten().tolist() == [2, 4, 8, 10]


def test_blur():
    image = torch.zeros(5, 5, 5)
    image[2, 2, 2] = 64
    got = augment.blur(image)
    assert got[2, 2].tolist() == [0, 4, 8, 4, 0]
    assert got.sum() == 64
    torch.testing.assert_close(augment.blur(torch.full((2, 3, 4), 7.0)), torch.full((2, 3, 4), 7.0))


def test_noise_is_as_strong_as_asked_and_the_same_for_a_seed():
    image = torch.full((20, 20, 20), 100.0)
    got = augment.add_noise(image, 10.0, 3)
    assert got.std().item() == pytest.approx(10, rel=0.05)
    assert torch.equal(got, augment.add_noise(image, 10.0, 3))


def test_a_couch_lies_under_the_body_where_there_is_air():
    image = torch.full((1, 10, 3), -1024.0)
    image[:, 2:5] = 40  # the body ends at row 4
    got = augment.add_couch(image, gap=1, bend=0.0, shell=100.0, thickness=3)
    assert got[0, :, 1].tolist() == [-1024, -1024, 40, 40, 40, -1024, 100, -900, 100, -1024]


def test_a_bent_couch_holds_the_body_and_does_not_cut_it():
    image = torch.full((1, 10, 3), -1024.0)
    image[:, 2:5] = 40
    got = augment.add_couch(image, gap=0, bend=3.0, shell=100.0, thickness=2)
    assert got[0, :, 1].tolist()[5:8] == [100, 100, -1024]
    assert got[0, 2:5].eq(40).all()


def test_no_couch_without_a_body():
    air = torch.full((2, 3, 4), -1024.0)
    assert torch.equal(augment.add_couch(air, gap=0, bend=0.0, shell=0.0, thickness=2), air)


def test_an_arm_beside_the_body():
    image = torch.full((2, 21, 21), -1024.0)
    image[:, :, :11] = 40
    got = augment.add_arm(image, (0.0, 0.6), (0.3, 0.3), 55.0)
    assert got[0, 10, 16] == 700  # bone in the middle, x = 0.6
    assert got[0, 10, 14] == 55
    assert got[0, 10, 20] == -1024
    assert got[:, :, :11].eq(40).all()
    assert torch.equal(got[0], got[1])


def test_a_phantom_paints_later_ellipses_on_top():
    got = augment.phantom((2, 5, 5), [(0, 0, 0.8, 0.8, 40.0), (0, 0, 0.3, 0.3, 900.0)], -1000.0)
    assert got[0, 2].tolist() == [-1000, 40, 900, 40, -1000]
    assert torch.equal(got[0], got[1])


def test_rotations_follow_each_other():
    turn = augment.rotation((90.0, 0.0, 0.0))
    torch.testing.assert_close(turn @ torch.tensor([1.0, 2, 3]).double(), torch.tensor([1.0, -3, 2]).double())
    mixed = augment.rotation((10.0, 20.0, 30.0))
    torch.testing.assert_close(mixed @ mixed.T, torch.eye(3).double())


@pytest.mark.parametrize(("speck", "noise"), [pytest.param(27.0, 26.0, id="noise"), pytest.param(54.0, 0.0, id="edge")])
def test_grain_is_what_differs_a_little_from_the_voxels_around(speck, noise):
    """The mean of the 27 voxels around a speck is a 27th of it; more than 40 HU from that is an edge."""
    image = torch.zeros(5, 5, 5)
    image[2, 2, 2] = speck
    got = augment.grain(image)
    assert got[2, 2, 2].item() == pytest.approx(noise)
    assert got[2, 2, 1].item() == pytest.approx(-speck / 27)
    assert got[2, 2, 0].item() == 0


def test_a_mask_is_dilated_on_each_axis_by_itself():
    mask = torch.zeros(7, 7, 7)
    mask[3, 3, 3] = 1
    expected = torch.zeros(7, 7, 7)
    expected[2:5, 3, 1:6] = 1
    assert torch.equal(augment.dilated(mask, (1, 0, 2)), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 5), (3, 3, 3), (4, 1, 2)])
def test_a_mean_is_of_the_voxels_that_are_there_however_thin(shape):
    field = torch.arange(np.prod(shape), dtype=torch.float32).reshape(shape)
    got = augment.smoothed(field)
    for z, y, x in np.ndindex(shape):
        around = field[max(0, z - 1) : z + 2, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert got[z, y, x].item() == pytest.approx(around.mean().item())
