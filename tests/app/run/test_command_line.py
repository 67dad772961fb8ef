import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app import __version__
from app.errors import SetupError
from app.run import command_line
from app.system.definition import system_names
from evaluation.shared.protocol import ORGANS
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import known_models

KEYS = [
    "case", "input", "output", "status", "shape", "spacing_mm", "spacing_used_mm", "box", "seconds", "peak_memory_mb",
    "volume_ml", "evidence", "verdict", "warnings", "error",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _known_models(monkeypatch):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    save_nifti(folder / "good_0000.nii.gz", body_phantom((40, 60, 30)), lps_affine((6, 4, 4)))
    return folder


def run(inputs, outputs, *more):
    report = outputs.parent / "report.jsonl"
    status = command_line.main(["--inputs", str(inputs), "--outputs", str(outputs), "--report", str(report), *more])
    return status, {line["case"]: line for line in map(json.loads, report.read_text().splitlines())}


def test_one_good_case(tmp_path, inputs, capsys):
    status, lines = run(inputs, tmp_path / "out")
    assert status == 0
    line = lines["good"]
    assert list(line) == KEYS
    assert line["status"] == "done"
    assert line["input"] == str(inputs / "good_0000.nii.gz")
    assert line["output"] == str(tmp_path / "out" / "good.nii.gz")
    assert line["shape"] == [40, 60, 30]
    assert line["spacing_mm"] == line["spacing_used_mm"] == [6, 4, 4]
    assert list(line["volume_ml"]) == list(ORGANS)
    assert line["error"] is None
    assert line["warnings"] == []
    steps = {name: seconds for name, seconds in line["seconds"].items() if name != "total"}
    assert line["seconds"]["total"] == pytest.approx(sum(steps.values()), abs=0.05)
    assert line["peak_memory_mb"] is None or line["peak_memory_mb"] > 10
    mask = np.asarray(nib.load(line["output"]).dataobj)
    (x0, x1), (y0, y1), (z0, z1) = line["box"]
    assert mask[x0:x1, y0:y1, z0:z1].sum() == mask.sum() > 0
    assert capsys.readouterr().out.startswith("good: 1 of 13 organs")


def test_a_mask_in_doubt_changes_the_exit_status_where_that_is_asked_for(tmp_path, inputs, capsys):
    assert run(inputs, tmp_path / "out", "--strict")[0] == 0
    save_nifti(inputs / "air_0000.nii.gz", np.full((40, 60, 30), -1000, np.int16), lps_affine((3, 2, 4)))
    status, lines = run(inputs, tmp_path / "out", "--strict")
    assert status == 3
    assert {name: line["verdict"] for name, line in lines.items()} == {"air": "check", "good": "good"}
    assert [warning["code"] for warning in lines["air"]["warnings"]] == ["not-located", "empty"]
    assert "air: check: 0 of 13 organs" in capsys.readouterr().out
    assert run(inputs, tmp_path / "out")[0] == 0
    (inputs / "bad.nii.gz").write_text("no scan")
    assert run(inputs, tmp_path / "out", "--strict")[0] == 1


def test_a_bad_scan_does_not_stop_the_others(tmp_path, inputs, capsys):
    (inputs / "bad.nii.gz").write_text("no scan")
    save_nifti(inputs / "flat.nii.gz", np.zeros((4, 5), np.int16))
    save_nifti(inputs / "zero.nii.gz", body_phantom(), codes=(0, 1), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])
    (inputs / "torn.nii.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 99)
    status, lines = run(inputs, tmp_path / "out")
    assert status == 1
    assert {case: line["status"] for case, line in lines.items()} == {
        "bad": "failed", "flat": "failed", "good": "done", "torn": "failed", "zero": "failed",
    }  # fmt: skip
    for case in ("bad", "flat", "torn", "zero"):
        line = lines[case]
        assert list(line) == KEYS
        assert line["error"].startswith(f"{case}.nii.gz: ")
        assert (line["output"], line["box"], line["volume_ml"]) == (None, None, None)
    assert lines["bad"]["shape"] is None
    assert lines["flat"]["shape"] == [4, 5]
    assert lines["flat"]["spacing_used_mm"] is None
    assert lines["zero"]["spacing_mm"] == [0, 1, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.nii.gz"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert all(": failed: " in line for line in errors)


def test_two_inputs_of_one_mask_both_fail_and_nothing_is_written(tmp_path, inputs):
    (inputs / "good_0000.nii.gz").rename(inputs / "good.nii.gz")
    save_nifti(inputs / "good.nii", body_phantom())
    status, lines = run(inputs, tmp_path / "out")
    assert status == 1
    assert lines["good"]["status"] == "failed"
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_passed_over_is_said_first(tmp_path, inputs, capsys):
    assert run(inputs, tmp_path / "out")[0] == 0
    assert capsys.readouterr().err == ""
    label = save_nifti(inputs / "good.nii.gz", np.ones((40, 60, 30), np.uint8))
    (inputs / "below").mkdir()
    (inputs / "bad.nii.gz").write_text("no scan")
    assert list(run(inputs, tmp_path / "out")[1]) == ["bad", "good"]
    assert capsys.readouterr().err.splitlines()[0] == "passed over: 1 mask beside its scan, 1 folder"
    before = label.read_bytes()
    status, lines = run(inputs, inputs, "--overwrite")  # to where the label lies
    assert (status, lines["good"]["status"], label.read_bytes()) == (1, "failed", before)
    assert "would overwrite good.nii.gz beside it" in lines["good"]["error"]
    assert run(inputs, inputs, "--skip-existing")[1]["good"]["status"] == "skipped"
    label.unlink()
    for _ in range(2):  # a mask of ours is written anew
        assert run(inputs, inputs)[1]["good"]["status"] == "done"


def test_existing_masks(tmp_path, inputs):
    out = tmp_path / "out"
    out.mkdir()
    (out / "good.nii.gz").write_bytes(b"older")
    status, lines = run(inputs, out, "--skip-existing")
    assert (status, lines["good"]["status"]) == (0, "skipped")
    assert (out / "good.nii.gz").read_bytes() == b"older"
    assert lines["good"]["output"] == str(out / "good.nii.gz")
    status, lines = run(inputs, out, "--overwrite")
    assert (status, lines["good"]["status"]) == (0, "done")
    assert (out / "good.nii.gz").read_bytes() != b"older"
    ours = (out / "good.nii.gz").stat()
    assert run(inputs, out)[0] == 0
    assert (out / "good.nii.gz").stat().st_ino != ours.st_ino  # what Viscera wrote is written anew by itself


def test_a_mask_that_something_else_wrote_is_refused_before_any_work(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr("app.run.pipeline.read", lambda *_, **__: pytest.fail("the scan has been read"))
    out = tmp_path / "out"
    out.mkdir()
    label = save_nifti(out / "good.nii.gz", np.zeros((40, 60, 30), np.uint8))
    before = label.read_bytes()
    status, lines = run(inputs, out)
    assert status == 1
    assert lines["good"]["error"] == (
        "good.nii.gz: exists and was not written by viscera; choose another output folder, or say --overwrite"
    )
    assert label.read_bytes() == before


def test_a_report_is_written_anew_over_an_earlier_one_alone(tmp_path, inputs, capsys):
    report = tmp_path / "report.jsonl"
    for _ in range(2):
        assert run(inputs, tmp_path / "out")[0] == 0
        assert len(report.read_text().splitlines()) == 1
    (tmp_path / "out.jsonl").touch()
    arguments = ["--inputs", str(inputs), "--outputs", str(tmp_path / "out"), "--report"]
    assert command_line.main([*arguments, str(tmp_path / "out.jsonl")]) == 0  # empty: nothing is lost
    whole = report.read_text()
    for foreign in ("notes\n", f"[{whole.strip()}]\n", '{"case": "good"}\n', "\n" + whole):
        report.write_text(foreign)
        assert command_line.main([*arguments, str(report)]) == 2
        assert "exists and is no report of viscera" in capsys.readouterr().err
        assert report.read_text() == foreign


def test_a_run_that_goes_on_carries_its_report_on(tmp_path, inputs):
    report, out = tmp_path / "report.jsonl", tmp_path / "out"
    (inputs / "bad.nii.gz").write_text("no scan")
    assert run(inputs, out)[0] == 1
    bad, good = report.read_text().splitlines()
    other = good.replace('"good"', '"other"')
    report.write_text(f"{other}\n{bad}\n{good}\n{good[:99]}")  # the last line was cut when the run was stopped
    save_nifti(inputs / "bad.nii.gz", body_phantom((40, 60, 30)), lps_affine((3, 2, 4)))
    status, lines = run(inputs, out, "--skip-existing")
    assert status == 0
    assert report.read_text().splitlines()[:2] == [other, good]
    assert {case: line["status"] for case, line in lines.items()} == {"other": "done", "good": "done", "bad": "done"}
    (out / "good.nii.gz").unlink()
    assert run(inputs, out, "--skip-existing")[0] == 0
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["case"] for line in lines] == ["other", "bad", "good"]
    assert lines[2]["seconds"] != json.loads(good)["seconds"]
    assert list(run(inputs, out)[1]) == ["bad", "good"]  # without the option it is written anew


def test_an_earlier_failure_whose_mask_is_there_now_was_skipped(tmp_path, inputs):
    (inputs / "good_0000.nii.gz").write_text("no scan")
    assert run(inputs, tmp_path / "out")[1]["good"]["status"] == "failed"
    (tmp_path / "out" / "good.nii.gz").write_text("of somebody")
    status, lines = run(inputs, tmp_path / "out", "--skip-existing")
    assert (status, lines["good"]["status"]) == (0, "skipped")


def test_two_inputs_of_one_mask_keep_no_earlier_line(tmp_path, inputs):
    run(inputs, tmp_path / "out")
    (inputs / "good_0000.nii").touch()
    status, lines = run(inputs, tmp_path / "out", "--skip-existing")
    assert (status, lines["good"]["status"]) == (1, "failed")
    assert (tmp_path / "report.jsonl").read_text().count("\n") == 2


def test_one_file_as_input(tmp_path, inputs):
    save_nifti(inputs / "other.nii.gz", body_phantom())
    _, lines = run(inputs / "good_0000.nii.gz", tmp_path / "out")
    assert list(lines) == ["good"]


def test_one_file_and_the_path_of_its_mask(tmp_path, inputs, capsys):
    status, lines = run(inputs / "good_0000.nii.gz", tmp_path / "a" / "mask.nii.gz")
    assert (status, lines["good"]["output"]) == (0, str(tmp_path / "a" / "mask.nii.gz"))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"mask.nii.gz", "report.jsonl"}
    assert run(inputs / "good_0000.nii.gz", tmp_path / "a" / "mask.nii.gz", "--skip-existing")[0] == 0
    capsys.readouterr()
    assert command_line.main(["--inputs", str(inputs), "--outputs", str(tmp_path / "b.nii.gz")]) == 2
    assert "names one mask" in capsys.readouterr().err
    assert not (tmp_path / "b.nii.gz").exists()


def test_an_unexpected_error_is_a_line_too(tmp_path, inputs, monkeypatch):
    def broken(_):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models(fine=broken))
    status, lines = run(inputs, tmp_path / "out")
    assert status == 1
    expected = r"good_0000\.nii\.gz: RuntimeError in app\.steps\.segment\.\w+ line \d+: could not create a primitive"
    assert re.fullmatch(expected, lines["good"]["error"])
    assert lines["good"]["shape"] == [40, 60, 30]
    assert lines["good"]["seconds"]["total"] > 0


def test_broken_models_end_the_run(tmp_path, inputs, monkeypatch, capsys):
    def broken(*_, **__):
        raise SetupError("weights/fine/bundle.json: field name is missing")

    monkeypatch.setattr(command_line, "load_models", broken)
    assert command_line.main(["--inputs", str(inputs), "--outputs", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "viscera: weights/fine/bundle.json: field name is missing\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--inputs", "{in}"], id="no outputs"),
        pytest.param(["--outputs", "{out}"], id="no inputs"),
        pytest.param(["--input", "{in}", "--outputs", "{out}"], id="half a word"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--threads", "4097"], id="one thread too many"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--threads", "0"], id="no threads"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--threads", "two"], id="threads in words"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--threads", "9" * 20], id="threads beyond counting"),
        pytest.param(["--inputs", "", "--outputs", "{out}"], id="an unset variable"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--overwrite", "--skip-existing"], id="both"),
        pytest.param(["--inputs", "{in}", "--outputs", "{out}", "--colour"], id="unknown option"),
    ],
)
def test_wrong_options_end_with_2(tmp_path, inputs, arguments):
    names = {"{in}": str(inputs), "{out}": str(tmp_path / "out")}
    with pytest.raises(SystemExit) as caught:
        command_line.main([names.get(argument, argument) for argument in arguments])
    assert caught.value.code == 2


def test_as_many_threads_as_there_may_be(tmp_path, inputs, monkeypatch):
    asked = []
    monkeypatch.setattr(command_line, "load_models", lambda *_, threads, **__: asked.append(threads) or known_models())
    monkeypatch.setattr(command_line, "run_case", lambda *arguments, **_: arguments[3]())
    for threads in ("1", "4096"):
        assert run(inputs, tmp_path / "out", "--threads", threads)[0] == 0
    assert asked == [1, 4096]


@pytest.mark.parametrize(
    ("called", "program"),
    [("/opt/bin/viscera", "viscera"), ("/opt/app/__main__.py", "python -m app"), ("-c", "python -m app")],
)
def test_help_names_the_program_as_it_was_called(monkeypatch, capsys, called, program):
    monkeypatch.setattr(sys, "argv", [called])
    with pytest.raises(SystemExit):
        command_line.main(["--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: {program} --inputs DIR --outputs DIR [option ...]\n       {program} --list")
    assert f"\n  {program} --inputs scans --outputs masks\n" in printed


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"viscera {__version__}\n"


def test_broken_models_are_said_even_where_no_scan_can_be_read(tmp_path, inputs, monkeypatch, capsys):
    def broken(*_, **__):
        raise SetupError("weights/fine/bundle.json: field name is missing")

    monkeypatch.setattr(command_line, "load_models", broken)
    (inputs / "good_0000.nii.gz").write_text("no scan")
    assert command_line.main(["--inputs", str(inputs), "--outputs", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "viscera: weights/fine/bundle.json: field name is missing"


@pytest.mark.parametrize(
    ("inputs_name", "outputs_name", "more", "message"),
    [
        pytest.param("nowhere", "out", [], "nowhere: cannot be read", id="no input folder"),
        pytest.param("empty", "out", [], "no .nii or .nii.gz file; put scans there", id="empty input folder"),
        pytest.param("in", "file", [], "file: cannot be written to", id="a file for a folder"),
        pytest.param("in", "/proc", [], "/proc: cannot be written to", id="a folder where nothing can be made"),
        pytest.param("in", "out", ["--system", "nobody"], "nobody.toml: cannot be read", id="no such system"),
        pytest.param("in", "out", ["--report", "/no/where/r.jsonl"], "report cannot be written", id="no report"),
    ],
)
def test_unusable_places_end_with_2_and_one_line(tmp_path, inputs, capsys, inputs_name, outputs_name, more, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    arguments = ["--inputs", str(inputs.parent / inputs_name), "--outputs", str(tmp_path / outputs_name), *more]
    assert command_line.main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_odd_files_cost_only_themselves(tmp_path, inputs):
    os.mkfifo(inputs / "pipe.nii.gz")
    (inputs / "nowhere.nii.gz").symlink_to(tmp_path / "not-there")
    (inputs / f"{'a' * 251}.nii").write_bytes((inputs / "good_0000.nii.gz").read_bytes())
    status, lines = run(inputs, tmp_path / "out", "--skip-existing")
    assert status == 1
    assert {case[:8]: line["status"] for case, line in lines.items()} == {
        "aaaaaaaa": "failed", "good": "done", "nowhere": "failed", "pipe": "failed",
    }  # fmt: skip
    assert "too long" in lines["a" * 251]["error"]


def test_the_longest_name_that_a_mask_can_have(tmp_path, inputs):
    name = "b" * 248
    (inputs / f"{name}.nii").write_bytes((inputs / "good_0000.nii.gz").read_bytes())
    assert run(inputs, tmp_path / "out")[1][name]["status"] == "done"


def test_a_folder_for_masks_is_made_with_those_above_it(tmp_path, inputs):
    assert command_line.main(["--inputs", str(inputs), "--outputs", str(tmp_path / "a" / "b" / "c")]) == 0
    assert (tmp_path / "a" / "b" / "c" / "good.nii.gz").exists()


def test_a_file_of_one_byte_is_a_mask_and_costs_nothing(tmp_path, inputs):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good.nii.gz").write_bytes(b"x")
    line = run(inputs, tmp_path / "out", "--skip-existing")[1]["good"]
    assert (line["status"], line["seconds"], line["peak_memory_mb"]) == ("skipped", None, None)
    assert line["shape"] == [40, 60, 30]


def test_want_of_memory_is_said_with_what_to_do(tmp_path, inputs, monkeypatch):
    def hungry(_):
        raise MemoryError

    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models(fine=hungry))
    error = run(inputs, tmp_path / "out")[1]["good"]["error"]
    assert error == "good_0000.nii.gz: not enough memory; raise the container's limit"


def test_the_header_is_read_once_and_its_spacing_said_as_it_was_meant(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr(command_line, "read_header", lambda _: pytest.fail("it is known already"))
    save_nifti(inputs / "good_0000.nii.gz", body_phantom((40, 60, 30)), lps_affine((3, 2, 5.7)))
    assert run(inputs, tmp_path / "out")[1]["good"]["spacing_mm"] == [3, 2, 5.7]  # 5.69999980926514 in the file


def test_a_header_without_axes_has_no_shape(tmp_path, inputs):
    save_nifti(inputs / "bad.nii.gz", body_phantom(), dim=[0, 4, 5, 6, 1, 1, 1, 1])
    line = run(inputs, tmp_path / "out")[1]["bad"]
    assert (line["status"], line["shape"], line["spacing_mm"]) == ("failed", [], [])


def test_an_empty_file_is_no_mask(tmp_path, inputs):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good.nii.gz").write_bytes(b"")
    assert run(inputs, tmp_path / "out", "--skip-existing")[1]["good"]["status"] == "done"


def test_masks_are_written_where_nothing_can_be_renamed(tmp_path, inputs, monkeypatch):
    def no_renaming(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("app.files.write.os.replace", no_renaming)
    for _ in range(2):
        status, lines = run(inputs, tmp_path / "out")
        assert (status, lines["good"]["status"]) == (0, "done")
    assert nib.load(tmp_path / "out" / "good.nii.gz").shape == (40, 60, 30)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.nii.gz"]


def test_a_mask_that_cannot_be_written_is_named(tmp_path, inputs):
    (tmp_path / "out" / "good.nii.gz").mkdir(parents=True)
    status, lines = run(inputs, tmp_path / "out", "--overwrite")
    assert status == 1
    assert lines["good"]["error"] == "good.nii.gz: cannot be written: Is a directory"


def test_an_error_of_many_lines_is_one(tmp_path, inputs, monkeypatch):
    def broken(_):
        raise RuntimeError("first\n  second\n")

    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models(fine=broken))
    assert run(inputs, tmp_path / "out")[1]["good"]["error"].endswith(": first second")


def test_an_error_of_the_system_while_a_case_is_worked_on_is_said_as_what_it_is(tmp_path, inputs, monkeypatch):
    """Only writing says that something cannot be written."""

    def broken(_):
        raise PermissionError(errno.EACCES, "Permission denied", "/some/where/model.bin")

    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models(fine=broken))
    error = run(inputs, tmp_path / "out")[1]["good"]["error"]
    assert re.fullmatch(r"model\.bin: PermissionError in app\.steps\.segment\.\w+ line \d+: Permission denied", error)


def test_a_switch_shows_where_a_scan_failed(tmp_path, inputs, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models(fine=broken))
    run(inputs, tmp_path / "out")
    assert "Traceback" not in capsys.readouterr().err
    run(inputs, tmp_path / "out", "--traceback")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("segment.py" in line for line in lines)
    assert lines[-2:] == ["RuntimeError: could not create a primitive", lines[-1]]
    assert lines[-1].startswith("good: failed: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_report_that_cannot_be_written_does_not_stop_the_scans(tmp_path, inputs, capsys):
    arguments = ["--inputs", str(inputs), "--outputs", str(tmp_path / "out"), "--report", "/dev/full"]
    assert command_line.main(arguments) == 2
    assert (tmp_path / "out" / "good.nii.gz").exists()
    assert "the report is not whole" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["in/good_0000.nii.gz", "out/good.nii.gz", "out/../out/good.nii.gz"])
def test_a_report_never_overwrites_a_scan_or_a_mask(tmp_path, inputs, capsys, name):
    before = (inputs / "good_0000.nii.gz").read_bytes()
    (tmp_path / "out").mkdir()
    arguments = ["--inputs", str(inputs), "--outputs", str(tmp_path / "out"), "--report", str(tmp_path / name)]
    assert command_line.main(arguments) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert (inputs / "good_0000.nii.gz").read_bytes() == before


STOPPED_WHILE_WRITING = """
import signal, sys, time
from app.run import command_line
from app.system.definition import system_names
from app.files import write
from tests.models import known_models

replace = write.os.replace

def slow_replace(first, second):
    if second.name != "good.nii.gz":  # to see whether it works at all
        return replace(first, second)
    print("writing", flush=True)
    time.sleep(20)

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
command_line.load_models = lambda *_, **__: known_models()
write.os.replace = slow_replace
sys.exit(command_line.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        pytest.param(signal.SIGTERM, 143, "", id="docker stop"),
        pytest.param(signal.SIGHUP, 129, "", id="the terminal is closed"),
        pytest.param(signal.SIGINT, 130, "viscera: interrupted\n", id="Ctrl-C"),
    ],
)
def test_a_program_that_is_stopped_leaves_nothing_half_written(tmp_path, inputs, number, status, said):
    command = [sys.executable, "-c", STOPPED_WHILE_WRITING, "--inputs", str(inputs), "--outputs", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        assert len(list((tmp_path / "out").iterdir())) == 1
        process.send_signal(number)
        assert process.communicate(timeout=10) == ("", said)
    assert process.returncode == status
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("cpus", "quota", "pinned"),
    [
        pytest.param(4, None, True, id="no quota"),
        pytest.param(4, 4.0, True, id="as much time as CPUs"),
        pytest.param(4, 3.9, False, id="less time than CPUs"),
    ],
)
def test_threads_are_bound_to_cores_where_they_have_them(tmp_path, inputs, monkeypatch, cpus, quota, pinned):
    asked = []

    def load_models(system, **choices):
        asked.append((system.stage["segment"].engine, choices))
        return known_models()

    monkeypatch.setattr(command_line, "load_models", load_models)
    monkeypatch.setattr(command_line.resources, "available_cpus", lambda: cpus)
    monkeypatch.setattr(command_line.resources, "cpu_quota", lambda *_: quota)
    run(inputs, tmp_path / "out", "--system", "viscera-float32")
    run(inputs, tmp_path / "out", "--threads", "7")
    assert asked == [
        ("openvino-float32", {"threads": 4, "pinned": pinned}),
        ("openvino-int8", {"threads": 7, "pinned": pinned}),
    ]


def test_a_peak_that_is_not_the_cases_own_is_not_given(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr(command_line.resources, "reset_peak_memory", lambda: False)
    assert run(inputs, tmp_path / "out")[1]["good"]["peak_memory_mb"] is None
    monkeypatch.setattr(command_line.resources, "reset_peak_memory", lambda: True)
    monkeypatch.setattr(command_line.resources, "peak_memory_mb", lambda: 123.4)
    assert run(inputs, tmp_path / "out")[1]["good"]["peak_memory_mb"] == 123.4


def test_the_memory_of_the_container_is_the_limit(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr(command_line.resources, "usable_memory", lambda: 300_000)
    error = run(inputs, tmp_path / "out")[1]["good"]["error"]
    assert error.startswith("good_0000.nii.gz: (40, 60, 30) voxels need 0.000469 GB, more than the 0.000279 GB")


def test_help_is_for_a_newcomer():
    result = subprocess.run([sys.executable, "-m", "app", "--help"], capture_output=True, text=True, check=True)
    words = ("--overwrite", "--skip-existing", "--report", "--traceback", "examples:", "exit status", "1 liver")
    for word in (*words, "viscera-float32"):
        assert word in result.stdout


def said(*arguments, **environment):
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_help_names_the_labels_of_the_default_system_or_says_that_it_cannot_run(tmp_path):
    (tmp_path / "one.toml").write_text(ONE_STAGE)
    assert (
        f"By system {tmp_path}/one.toml:\n0 background, 1 liver, "
        in said("--help", VISCERA_SYSTEM=f"{tmp_path}/one.toml").stdout
    )
    (tmp_path / "one.toml").write_text(ONE_STAGE.replace("fine", "none"))
    result = said("--help", VISCERA_SYSTEM=f"{tmp_path}/one.toml")
    assert (result.returncode, result.stderr) == (0, "")
    assert "The default system cannot be run: " in result.stdout
    assert "1 liver" not in result.stdout


ONE_STAGE = """
title = "one"
stage.segment = { bundle = "fine", engine = "openvino-int8", precision = "f32" }
result.of = "segment"
"""


def test_systems_are_listed_without_scans_and_without_an_engine(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: pytest.fail("an engine was loaded"))
    assert command_line.main(["--list-systems", "--system", "viscera-float32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(system_names())
    assert next(line for line in lines if line.startswith("viscera-float32")).startswith("viscera-float32 (default): ")
    assert command_line.main(["--list-systems", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in table] == system_names()
    ours = next(entry for entry in table if entry["name"] == "viscera")
    assert (ours["bundles"], ours["default"], ours["error"]) == (["localiser", "fine"], True, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "the following arguments are required: --inputs, --outputs", id="nothing"),
        pytest.param(["--inputs", "x"], "the following arguments are required: --outputs", id="no outputs"),
        pytest.param(["--inputs", "x", "--outputs", "y", "--json"], "--json goes with --list-systems", id="json"),
    ],
)
def test_what_is_required_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line.main(arguments)
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m app: error: {message}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--ouputs", "b"], "--ouputs; did you mean --outputs?", id="mistyped, and its value"),
        pytest.param(["--ouputs=b"], "--ouputs; did you mean --outputs?", id="mistyped with its value"),
        pytest.param(["--input", "a"], "--input; did you mean --inputs?", id="half a word"),
        pytest.param(["-outputs", "b"], "-outputs; did you mean --outputs?", id="one dash"),
        pytest.param(["--skip_existing"], "--skip_existing; did you mean --skip-existing?", id="another dash"),
        pytest.param(
            ["--imputs", "a", "--ouputs", "b", "--ouput"],
            "--imputs --ouputs --ouput; did you mean --inputs, --outputs?",
            id="several",
        ),
        pytest.param(["--colour"], "--colour", id="nothing like it"),
        pytest.param(["a", "b"], "a b", id="no option at all"),
    ],
)
def test_a_mistyped_option_is_named_with_the_nearest(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line.main(arguments)
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m app: error: unrecognized arguments: {message}"


def test_a_list_that_nobody_reads_to_its_end_is_no_error():
    result = subprocess.run(
        f'"{sys.executable}" -m app --list-systems | true', shell=True, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


def test_starting_costs_no_heavy_import():
    code = "import sys, app.run.command_line; print(sorted({'torch', 'openvino', 'numba', 'tqdm'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_real_program_on_a_phantom_in_another_folder(tmp_path, inputs):
    """As a process, with the weights that ship, from a folder that is not the project's."""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "HOME": str(home)}
    command = [sys.executable, "-m", "app", "--inputs", str(inputs), "--outputs", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert nib.load(tmp_path / "out" / "good.nii.gz").shape == (40, 60, 30)
    assert list(home.iterdir()) == []  # OpenVINO's telemetry would have left its identity here
