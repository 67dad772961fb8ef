from evaluation.maintenance.bodies import padded, slabs, stitched
from tests.evaluation.maintenance.example_case import case


def test_slabs_go_from_end_to_end():
    cuts = slabs(case(), 100.0, 40.0)  # 32 slices of 10 mm: 10 slices each, from 0, 4, ... and the last possible
    assert [cut.name for cut in cuts] == [f"a[{start}:{start + 10}]" for start in (0, 4, 8, 12, 16, 20, 22)]
    assert all(cut.grid.shape == (10, 16, 16) for cut in cuts)
    assert cuts[2].labels.all(axis=0)[4:12, 4:12].all()
    assert len(slabs(case(), 1000.0, 40.0)) == 1  # a scan that is lower than a slab


def test_padding_keeps_the_scan_in_the_middle_of_air():
    body = padded(case(), 1200.0)
    assert body.grid.shape == (120, 16, 16)
    assert (body.voxels[:44] == -1024).all()
    assert (body.voxels[44:76] == case().voxels).all()
    assert body.labels.sum() == case().labels.sum()
    assert padded(case(), 100.0).grid.shape == (32, 16, 16)


def test_stitching_end_to_end_with_the_narrower_amid_air():
    narrow = case("b", (32, 8, 16), (slice(8, 24), slice(2, 6), slice(4, 12)))
    body = stitched([case(), narrow], 700.0)
    assert body.grid.shape == (70, 16, 16)  # 32 + 32 + 6 slices of the first again
    assert (body.labels[:32] == case().labels).all()
    assert (body.labels[32:64, 4:12] == narrow.labels).all()
    assert (body.voxels[32:64, :4] == -1024).all()
    other = stitched([case(), case(spacing=(5.0, 5.0, 5.0)), narrow], 640.0)  # the second has another spacing
    assert (other.labels[32:64, 4:12] == narrow.labels).all()
