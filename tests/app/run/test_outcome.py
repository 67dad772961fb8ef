import pytest

from app.run import outcome as outcomes
from app.run.outcome import Outcome


def test_seconds_of_a_step_are_added_up_also_when_it_fails(monkeypatch):
    clock = iter((10.0, 12.5, 20.0, 21.0))
    monkeypatch.setattr(outcomes.time, "perf_counter", lambda: next(clock))
    outcome = Outcome()
    with outcome.timed("step"):
        pass
    with pytest.raises(RuntimeError), outcome.timed("step"):
        raise RuntimeError
    assert outcome.seconds == {"step": 3.5}
