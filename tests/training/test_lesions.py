from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.lesions import Lesion, add_lesions, draw_lesion, paint_lesion  # noqa: E402

MM = (1.0, 1.0, 1.0)
LIVER = 1
BALL = Lesion(  # of 3 mm, fading out from 2 to 4
    organ=LIVER,
    centre=(8, 8, 8),
    radii=(3.0, 3.0, 3.0),
    degrees=(0.0, 0.0, 0.0),
    lumps=0.0,
    edge=2.0,
    contrast=-40.0,
    texture=0.0,
    texture_mm=5.0,
    bulge=0.0,
    seed=1,
)


def liver(size=17):
    """A liver of 100 HU that fills the image."""
    return torch.full((size, size, size), 100.0), torch.full((size, size, size), LIVER, dtype=torch.uint8)


def liver_in(surroundings):
    """A liver of 100 HU where x is below 9, and other HU beyond."""
    image, labels = liver()
    image[:, :, 9:], labels[:, :, 9:] = surroundings, 0
    return image, labels


def line_x(array):
    return array[8, 8].tolist()


@pytest.mark.parametrize("contrast", [-40.0, 40.0])
def test_a_ball_fades_out_around_its_radius_and_is_labelled_up_to_it(contrast):
    """3 mm from the centre half of the contrast is left, and the label ends; at 4 mm nothing is."""
    image, labels = liver()
    painted, marked = paint_lesion(image, labels, replace(BALL, contrast=contrast), MM)
    full, half = 100 + contrast, 100 + contrast / 2
    expected = [100.0] * 5 + [half, full, full, full, full, full, half] + [100.0] * 5
    assert line_x(painted) == pytest.approx(expected)
    assert line_x(marked) == [1] * 5 + [14] * 7 + [1] * 5
    assert marked.dtype == torch.uint8
    torch.testing.assert_close(painted, painted.transpose(0, 2), atol=1e-3, rtol=0)


def test_a_ball_is_round_in_mm():
    """Slices of 2 mm: one either side of the centre lies inside, the next at 4 mm is untouched."""
    image, labels = liver()
    painted, marked = paint_lesion(image, labels, BALL, (2.0, 1.0, 1.0))
    assert painted[5:12, 8, 8].tolist() == pytest.approx([100, 100, 60, 60, 60, 100, 100])
    assert marked[5:12, 8, 8].tolist() == [1, 1, 14, 14, 14, 1, 1]
    assert line_x(marked) == [1] * 5 + [14] * 7 + [1] * 5


def test_an_ellipsoid_is_turned():
    """Long along y; a quarter turn about z makes it long along x, half of that along where y and x grow alike."""
    image, labels = liver()
    lesion = replace(BALL, radii=(2.0, 6.0, 2.0), edge=1.0)
    upright, half, quarter = (
        paint_lesion(image, labels, replace(lesion, degrees=(about_z, 0.0, 0.0)), MM)[1] == 14
        for about_z in (0.0, 45.0, 90.0)
    )
    assert [int(upright.any(2).any(0).sum()), int(upright.any(1).any(0).sum())] == [13, 5]
    assert torch.equal(quarter, upright.transpose(1, 2))
    assert [bool(half[8, 11, 11]), bool(half[8, 11, 5])] == [True, False]


def test_nothing_is_changed_in_place():
    image, labels = liver()
    paint_lesion(image, labels, BALL, MM)
    assert image.eq(100).all()
    assert labels.eq(LIVER).all()


def test_contrast_is_to_the_organ_and_other_organs_are_left_alone():
    """A small liver beside a large spleen of 120 HU."""
    image, labels = liver()
    image[:, :, 7:], labels[:, :, 7:] = 120, 3
    painted, marked = paint_lesion(image, labels, replace(BALL, centre=(8, 8, 4), bulge=10.0), MM)
    assert line_x(painted)[:6] == pytest.approx([100, 80, 60, 60, 60, 60])
    assert torch.equal(painted[:, :, 7:], image[:, :, 7:])
    assert marked[:, :, 7:].eq(3).all()


def test_a_lesion_stays_in_its_organ_without_a_bulge():
    """Where the organ ends it is eased: a third of the 27 voxels around its last voxel are none of it."""
    image, labels = liver_in(-90.0)
    painted, marked = paint_lesion(image, labels, BALL, MM)
    assert line_x(marked) == [1] * 5 + [14] * 4 + [0] * 8
    assert line_x(painted) == pytest.approx([100.0] * 5 + [80, 60, 60, 100 - 40 * 2 / 3] + [-90.0] * 8)


@pytest.mark.parametrize("mm", [1.0, 2.0])
def test_a_lesion_bulges_as_far_as_it_may(mm):
    """Two voxels past the organ's last one, which is number 8; all lengths grow with the voxels."""
    image, labels = liver_in(-90.0)
    lesion = replace(BALL, radii=(3 * mm, 3 * mm, 3 * mm), edge=2 * mm, bulge=2 * mm)
    painted, marked = paint_lesion(image, labels, lesion, (mm, mm, mm))
    assert line_x(marked) == [1] * 5 + [14] * 6 + [0] * 6
    assert painted[8, 8, 9].item() == pytest.approx(60)
    assert line_x(painted)[11:] == [-90] * 6


@pytest.mark.parametrize("hounsfield", [-1000.0, -700.0, 300.0])
def test_a_lesion_does_not_bulge_into_gas_lung_or_bone(hounsfield):
    image, labels = liver_in(hounsfield)
    painted, marked = paint_lesion(image, labels, replace(BALL, bulge=3.0), MM)
    assert marked[:, :, 9:].eq(0).all()
    assert painted[:, :, 9:].eq(hounsfield).all()


def test_a_lesion_at_the_border_of_the_image_is_cut_off():
    image, labels = liver()
    painted, marked = paint_lesion(image, labels, replace(BALL, centre=(8, 8, 0)), MM)
    assert line_x(marked) == [14] * 4 + [1] * 13
    assert line_x(painted)[:5] == pytest.approx([60, 60, 60, 80, 100])


def test_the_noise_of_the_scan_stays():
    image, labels = liver()
    image += torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * 8
    painted, marked = paint_lesion(image, labels, replace(BALL, radii=(7.0, 7.0, 7.0)), MM)
    inside = (marked == 14)[3:14, 3:14, 3:14]
    noise = painted[3:14, 3:14, 3:14][inside].std().item()
    assert 6 < noise < 9


def test_texture_varies_about_the_contrast_as_told():
    """Of one pattern, 10 HU is twice as much as 5 HU everywhere; over some waves its deviation is that number."""
    image, labels = liver(41)
    lesion = replace(BALL, centre=(20, 20, 20), radii=(18.0, 18.0, 18.0), texture_mm=4.0)
    inside = paint_lesion(image, labels, replace(lesion, radii=(17.0, 17.0, 17.0)), MM)[1] == 14
    five, ten = (paint_lesion(image, labels, replace(lesion, texture=hu), MM)[0][inside] for hu in (5.0, 10.0))
    torch.testing.assert_close(ten - 60, 2 * (five - 60), atol=1e-3, rtol=0)
    assert five.mean().item() == pytest.approx(60, abs=1)
    assert five.std().item() == pytest.approx(5, rel=0.15)


def test_lumps_change_the_outline_but_hardly_the_size():
    image, labels = liver(41)
    ball = replace(BALL, centre=(20, 20, 20), radii=(12.0, 12.0, 12.0))
    round_, lumpy, other = (
        paint_lesion(image, labels, lesion, MM)[1] == 14
        for lesion in (ball, replace(ball, lumps=0.1), replace(ball, lumps=0.1, seed=2))
    )
    assert lumpy.sum().item() == pytest.approx(round_.sum().item(), rel=0.3)
    assert (lumpy != round_).sum() > 0.05 * round_.sum()
    assert not torch.equal(lumpy, other)


def test_labels_of_another_grid_and_absent_organs_are_refused():
    image, labels = liver()
    with pytest.raises(ValueError, match="as fine as the image"):
        paint_lesion(image, labels[::2], BALL, MM)
    with pytest.raises(ValueError, match="no organ 3"):
        paint_lesion(image, labels, replace(BALL, organ=3), MM)


def test_lesions_are_drawn_from_5_to_60_mm_darker_and_brighter_in_every_organ():
    labels = torch.zeros(8, 8, 8, dtype=torch.uint8)
    labels[:4], labels[6, 6, 6] = LIVER, 3
    rng = np.random.default_rng(0)
    drawn = [draw_lesion(labels, (LIVER, 3, 4), rng) for _ in range(400)]
    diameters = np.array([2 * lesion.radius for lesion in drawn])
    assert 5 <= diameters.min() < 6
    assert 50 < diameters.max() <= 60
    assert np.median(diameters) == pytest.approx(np.sqrt(5 * 60), rel=0.15)  # on a logarithmic scale
    assert all(labels[lesion.centre] == lesion.organ for lesion in drawn)
    assert np.mean([lesion.organ == LIVER for lesion in drawn]) == pytest.approx(0.5, abs=0.1)
    contrasts = np.array([lesion.contrast for lesion in drawn])
    assert np.mean(contrasts < 0) == pytest.approx(0.7, abs=0.1)
    assert np.abs(contrasts).min() >= 15
    assert min(lesion.edge for lesion in drawn) > 0


def test_lesions_are_added_where_there_is_an_organ_and_are_the_same_from_the_same_seed():
    image, labels = liver(24)
    first, second, other = (add_lesions(image, labels, (LIVER,), MM, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first[1] == 14).any()
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
    unchanged = add_lesions(image, labels, (3,), MM, np.random.default_rng(0))
    assert unchanged[0] is image
    assert unchanged[1] is labels


def test_an_organ_that_lesions_have_taken_whole_is_no_mistake():
    """A liver of one voxel is a lesion after the first one."""
    image, labels = torch.full((5, 5, 5), 100.0), torch.zeros(5, 5, 5, dtype=torch.uint8)
    labels[2, 2, 2] = LIVER
    for seed in range(10):
        marked = add_lesions(image, labels, (LIVER,), MM, np.random.default_rng(seed))[1]
        assert marked[2, 2, 2] == 14
