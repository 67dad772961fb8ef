import numpy as np

from app.grid import Grid
from evaluation.maintenance.bodies import Case


def case(name="a", shape=(32, 16, 16), organ=(slice(8, 24), slice(4, 12), slice(4, 12)), spacing=(10.0, 5.0, 5.0)):
    """A block of tissue, all of it liver, in air."""
    labels = np.zeros(shape, np.uint8)
    labels[organ] = 1
    voxels = np.where(labels, 40, -1000).astype(np.int16)
    return Case(name, voxels, labels, Grid(shape, spacing))
