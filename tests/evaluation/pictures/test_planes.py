import numpy as np

from evaluation.pictures.planes import COLOURS, HEIGHT, busiest, overlay


def test_busiest_slice_has_most_organs_then_most_voxels():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0] = 1
    labels[2, 0, :2] = [1, 2]
    labels[3, 0, :3] = [1, 2, 2]
    assert busiest(labels, 0) == 3
    assert busiest(np.zeros((4, 5, 6), np.uint8), 0) == 2


def test_the_picture_shows_the_organ_where_it_is():
    voxels = np.full((20, 20, 20), -1000, np.int16)
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:, 10:, 10:] = 1  # back and left of the patient: lower right quarter of the axial plane
    picture = np.asarray(overlay(voxels, labels, (1.0, 1.0, 1.0)))
    axial = picture[:, :HEIGHT]
    assert axial[40, 40].tolist() == [0, 0, 0]
    np.testing.assert_allclose(axial[-40, -40], COLOURS[1] / 2, atol=2)


def test_an_empty_mask_gives_a_picture_too():
    picture = overlay(np.zeros((1, 3, 2), np.int16), np.zeros((1, 3, 2), np.uint8), (5.0, 1.0, 1.0))
    assert picture.height == HEIGHT
