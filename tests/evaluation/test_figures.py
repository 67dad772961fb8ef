from evaluation.figures import _megabytes, _memory


def test_anonymous_and_shared_memory_without_page_cache(tmp_path):
    file = tmp_path / "memory.stat"
    file.write_text("anon 1000\nfile 9000\nshmem 30\n")  # v2
    assert _memory(file) == 1030
    file.write_text("cache 9000\nrss 1000\nrss_huge 500\nshmem 30\ntotal_rss 7777\n")  # v1
    assert _memory(file) == 1030
    assert _memory(tmp_path / "gone") is None


def test_the_largest_that_is_known():
    assert _megabytes([None, 2_000_000, 1_000_000]) == "2 MB"
    assert "unknown" in _megabytes([None])
