import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import SetupError
from evaluation.efficiency import timing
from evaluation.efficiency.containers import DOCKER_FAILED
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.timing import DONE, exit_delays, judged, process_timer, scan_paths, workspace
from tests.files import save_nifti


def test_scans_are_told_from_masks(tmp_path):
    for name in ("b.nii.gz", "a.nii.gz", ".c.nii.gz", "readme.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in scan_paths(tmp_path)] == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "a_0000.nii.gz").touch()
    assert [path.name for path in scan_paths(tmp_path)] == ["a_0000.nii.gz"]
    assert scan_paths(tmp_path / "b.nii.gz") == [tmp_path / "b.nii.gz"]
    with pytest.raises(SetupError, match="no scans"):
        scan_paths(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("status", "timed_out", "out_of_memory", "mask", "expected"),
    [
        pytest.param(0, False, False, True, DONE, id="done"),
        pytest.param(0, False, False, False, "no mask", id="no mask"),
        pytest.param(3, False, False, True, "exit status 3", id="failed, whatever it left"),
        pytest.param(137, True, False, False, "time limit", id="time limit"),
        pytest.param(137, False, True, False, "out of memory", id="killed for memory"),
        pytest.param(0, False, True, False, "out of memory", id="killed for memory without a word"),
    ],
)
def test_what_became_of_a_case(tmp_path, status, timed_out, out_of_memory, mask, expected):
    run = Run(0.0, 1.0, status, timed_out)
    with workspace(tmp_path) as place:
        place.log.write_text("first\nlast words\n\n")
        if mask:
            save_nifti(place.outputs / "X.nii.gz", np.zeros((2, 2, 2), np.uint8))
        case = judged(Path("X_0000.nii.gz"), run, place, "somewhere", out_of_memory=out_of_memory)
    assert (case.status, case.note) == (expected, "" if expected == DONE else "last words")


def test_of_a_log_without_end_the_end_is_read_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "LOG_BYTES", 12)
    with workspace(tmp_path) as place:
        for text, note in (
            ("last words\n\n", "last words"),
            ("1234567890\nlast words\n", "last words (of its log the last 12 bytes were read, not the 10 before)"),
        ):
            place.log.write_text(text)
            case = judged(Path("X_0000.nii.gz"), Run(0.0, 1.0, 3), place, "somewhere", out_of_memory=False)
            assert case.note == note


def test_a_mask_in_spite_of_a_killed_process_is_a_mask(tmp_path):
    with workspace(tmp_path) as place:
        save_nifti(place.outputs / "X.nii.gz", np.zeros((2, 2, 2), np.uint8))
        case = judged(Path("X.nii.gz"), Run(0.0, 1.0, 0), place, "", out_of_memory=True)
    assert (case.status, case.note) == (DONE, "the kernel ended a process of it for want of memory")


def test_a_mask_that_cannot_be_read_is_none(tmp_path):
    with workspace(tmp_path) as place:
        mask = place.outputs / "X.nii.gz"
        mask.touch()
        assert judged(Path("X.nii.gz"), Run(0.0, 1.0, 0), place, "", out_of_memory=False).status == "unusable mask"
        mask.unlink()
        mask.symlink_to("/etc/hostname")
        assert judged(Path("X.nii.gz"), Run(0.0, 1.0, 0), place, "", out_of_memory=False).status == "no mask"


def test_endless_words_are_cut(tmp_path):
    with workspace(tmp_path) as place:
        place.log.write_bytes(b"\0" * 1000)
        assert judged(Path("X.nii.gz"), Run(0.0, 1.0, 1), place, "", out_of_memory=False).note == "?" * 200


def test_what_docker_says_of_its_own_failure(tmp_path):
    run = Run(0.0, 1.0, DOCKER_FAILED)
    with workspace(tmp_path) as place:
        place.log.write_text("docker: Error response: the name is in use.\nSee 'docker run --help'.\n")
        assert (
            judged(Path("X.nii.gz"), run, place, "", out_of_memory=False).note
            == "docker: Error response: the name is in use."
        )
        place.log.write_text("")
        assert judged(Path("X.nii.gz"), run, place, "", out_of_memory=False).note == "it said nothing"


def test_samples_that_ended_early_are_said(tmp_path):
    sample = Sample(0.1, Usage(0.0, 0, 0, 0))
    run = Run(0.0, 1.0, 0, samples=(sample,), sampling_error="KeyError: 'anon'")
    with workspace(tmp_path) as place:
        place.log.touch()
        case = judged(Path("X.nii.gz"), run, place, "cgroup", out_of_memory=False)
    assert case.source == "cgroup, which ended early (KeyError: 'anon')"


def test_a_workspace_is_new_each_time_and_gone_afterwards(tmp_path):
    with workspace(tmp_path) as first:
        (first.outputs / "left").touch()
        assert first.outputs.stat().st_mode & 0o777 == 0o777
    with workspace(tmp_path) as second:
        assert not list(second.outputs.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_plain_process(tmp_path):
    save_nifti(tmp_path / "mask.nii.gz", np.zeros((2, 2, 2), np.uint8))
    script = f"import sys, shutil; shutil.copy({str(tmp_path / 'mask.nii.gz')!r}, sys.argv[2] + '/X.nii.gz')"
    timer = process_timer(lambda scan, place: [sys.executable, "-c", script, scan, place.outputs], "somewhere")
    with workspace(tmp_path) as place:
        assert timer(tmp_path / "X_0000.nii.gz", place).status == DONE
    failing = process_timer(lambda *_: [sys.executable, "-c", "raise SystemExit('why')"], "somewhere")
    with workspace(tmp_path) as place:
        case = failing(tmp_path / "X_0000.nii.gz", place)
    assert (case.status, case.note) == ("exit status 1", "why")


def test_the_end_is_seen_at_once(tmp_path):
    """The median: a busy machine may let us wait for a CPU now and then."""
    delays = sorted(exit_delays(9, tmp_path))
    assert 0 < delays[4] < 0.010
