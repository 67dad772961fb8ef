import pytest

from app.notice import Notice, Verdict, heaviest


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "good"),
        (("good", "good"), "good"),
        (("good", "check", "good"), "check"),
        (("unusable", "check"), "unusable"),
    ],
)
def test_the_heaviest_of_several_verdicts_counts(verdicts, expected):
    assert heaviest(Notice("odd", "odd", Verdict(verdict)) for verdict in verdicts) == expected
