import sys

from app.progress import Progress
from app.report import Line


def line(status, **fields):
    return Line("a", "a.nii", "out/a.nii.gz", status, **fields)


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Progress(3) as progress:
        progress.show(line("done", seconds={"total": 1.26}, volume_ml={"liver": 1.0, "spleen": 0.0}, warnings=["odd"]))
        progress.show(line("failed", error="a.nii: no good"))
        progress.show(line("skipped"))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a: 1 of 2 organs, 1.3 s, out/a.nii.gz",
        "a: skipped, out/a.nii.gz",
        "3 scans: 1 done, 1 failed, 1 skipped",
    ]
    assert err.splitlines() == ["a: warning: odd", "a: failed: a.nii: no good"]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(2) as progress:
        progress.show(line("skipped"))
    out, err = capsys.readouterr()
    assert out == "a: skipped, out/a.nii.gz\n"
    assert "/2" in err
