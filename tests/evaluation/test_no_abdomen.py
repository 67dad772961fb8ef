import sys

import pytest

from evaluation import no_abdomen
from tests.shared import SHARED, needs_cases


@needs_cases
@pytest.mark.slow
def test_nothing_is_found_where_no_abdomen_is(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["no_abdomen", str(SHARED / "data")])
    with pytest.raises(SystemExit) as stopped:
        no_abdomen.main()
    printed = capsys.readouterr().out
    assert stopped.value.code == 0, printed
    assert sum(line.startswith("ok") for line in printed.splitlines()) >= 23
    assert "FAILS" not in printed
