import gzip

import pytest

from app.files.packed import ERRORS, unpacked, whole_members

ONE, TWO = gzip.compress(b"one"), gzip.compress(b"two" * 100_000)


def saved(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"words", None, id="no gzip"),
        pytest.param(b"\x1f\x8b", None, id="a beginning"),
        pytest.param(ONE[:-1], None, id="cut"),
        pytest.param(ONE[:-8] + bytes(8), None, id="another sum and length"),
        pytest.param(ONE[:-1] + b"\x01", None, id="another length"),
        pytest.param(ONE, len(ONE), id="one"),
        pytest.param(ONE + TWO, len(ONE + TWO), id="two"),
        pytest.param(ONE + b"x", len(ONE), id="one and a byte"),
        pytest.param(ONE + TWO + bytes(99), len(ONE + TWO), id="two and zeros"),
        pytest.param(ONE + TWO[:-1], None, id="the second cut"),
        pytest.param(ONE + b"\x1f\x8bx", None, id="the second damaged"),
    ],
)
def test_whole_members(tmp_path, content, size):
    assert whole_members(saved(tmp_path, content)) == size


def test_what_is_packed_is_unpacked_as_far_as_asked(tmp_path):
    for content, size, found in (
        (b"", None, b""),
        (b"words", None, b"words"),
        (ONE, None, b"one"),
        (ONE + TWO, None, b"one" + b"two" * 100_000),
        (ONE + TWO, len(ONE), b"one"),
        (ONE + b"rubbish", len(ONE), b"one"),
        (TWO + b"rubbish", len(TWO), b"two" * 100_000),
    ):
        with unpacked(saved(tmp_path, content), size) as file:
            assert file.read() == found


@pytest.mark.parametrize("content", [ONE[:-1], ONE[:-8] + bytes(8), ONE + b"rubbish", ONE[:10] + b"\xff" * 99])
def test_what_is_damaged_is_said(tmp_path, content):
    with unpacked(saved(tmp_path, content)) as file, pytest.raises(ERRORS):
        file.read()
