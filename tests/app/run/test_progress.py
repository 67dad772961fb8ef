import io
import os
import sys
from types import SimpleNamespace

from app.notice import Notice, Verdict
from app.run.progress import Progress
from app.run.report import Line

ODD = Notice("odd", "odd", Verdict.CHECK)


def line(status, **fields):
    return Line("a", "a.nii", "out/a.nii.gz", status, **fields)


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Progress(3) as progress:
        progress.show(line("done", seconds={"total": 1.26}, volume_ml={"liver": 1.0, "spleen": 0.0}, warnings=[ODD]))
        progress.show(line("failed", error="a.nii: no good"))
        progress.show(line("skipped"))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a: 1 of 2 organs, 1.3 s, out/a.nii.gz",
        "a: skipped, out/a.nii.gz",
        "3 scans: 1 done, 1 failed, 1 skipped",
    ]
    assert err.splitlines() == ["a: warning: odd", "a: failed: a.nii: no good"]


def test_a_mask_that_is_not_to_be_used_says_so_in_its_line(capsys):
    known = {"seconds": {"total": 1.26}, "volume_ml": {"liver": 1.0}}
    with Progress(3) as progress:
        for verdict in Verdict:
            progress.show(line("done", verdict=verdict, **known))
    assert capsys.readouterr().out.splitlines() == [
        "a: 1 of 1 organs, 1.3 s, out/a.nii.gz",
        "a: check: 1 of 1 organs, 1.3 s, out/a.nii.gz",
        "a: unusable: 1 of 1 organs, 1.3 s, out/a.nii.gz",
        "3 scans: 3 done, 1 to check, 1 unusable",
    ]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(2) as progress:
        progress.show(line("skipped"))
    out, err = capsys.readouterr()
    assert out == "a: skipped, out/a.nii.gz\n"
    assert "/2" in err


class FakeBar:
    """What tqdm is asked for."""

    def __init__(self, **options):
        self.options, self.lines, self.steps, self.closed = options, [], 0, False

    def update(self):
        self.steps += 1

    def write(self, text, *, file):
        self.lines.append((text, file))

    def close(self):
        self.closed = True


def bars_of_a_terminal(monkeypatch):
    """In the order in which they are made."""
    made = []
    tqdm = SimpleNamespace(tqdm=lambda **options: made.append(FakeBar(**options)) or made[-1])
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    return made


def test_lines_go_through_the_bar_as_long_as_there_is_one(monkeypatch, capsys):
    bars = bars_of_a_terminal(monkeypatch)
    with Progress(2) as progress:
        progress.show(line("skipped", warnings=[ODD]))
        progress.show(line("failed", error="a.nii: no good"))
        assert capsys.readouterr() == ("", "")
    (bar,) = bars
    assert bar.options == {"total": 2, "unit": "scan", "leave": False}
    assert bar.lines == [
        ("a: warning: odd", sys.stderr), ("a: skipped, out/a.nii.gz", sys.stdout),
        ("a: failed: a.nii: no good", sys.stderr),
    ]  # fmt: skip
    assert (bar.steps, bar.closed) == (2, True)
    assert capsys.readouterr() == ("2 scans: 1 skipped, 1 failed\n", "")


def test_one_scan_needs_no_bar_and_no_sum(monkeypatch, capsys):
    bars = bars_of_a_terminal(monkeypatch)
    with Progress(1) as progress:
        progress.show(line("skipped"))
    assert (bars, capsys.readouterr().out) == ([], "a: skipped, out/a.nii.gz\n")


def test_a_line_is_seen_at_once(monkeypatch):
    class Terminal(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed = self.tell()

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    Progress(1).show(line("skipped"))
    assert terminal.flushed == len("a: skipped, out/a.nii.gz\n")


def test_a_name_with_a_line_break_is_one_line(capsys):
    Progress(1).show(Line("a\nb", "a.nii", "out/a.nii.gz", "skipped"))
    assert capsys.readouterr().out == "a\\nb: skipped, out/a.nii.gz\n"


def test_where_nobody_listens_any_more_the_scans_go_on(monkeypatch):
    """As behind `| head`: what could not be written is lost, and closing the stream is no error either."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    progress = Progress(1)
    progress.show(line("skipped"))
    progress.show(line("skipped"))
    stream.close()


def test_done_without_figures_is_said_without_them(capsys):
    Progress(1).show(line("done"))
    Progress(1).show(line("done", seconds={"total": 1.0}))
    assert capsys.readouterr().out == "a: done, out/a.nii.gz\n" * 2
