import csv

import pytest
from PIL import Image

from evaluation.efficiency.curves import draw_curves
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.table import summary, write_rows, write_samples
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.shared.protocol import MEGABYTE


def case(name="a_0000.nii.gz", status=DONE, seconds=2.0, megabytes=100, note=""):
    rows = ((0.5, 0.0, megabytes // 2), (1.0, 1.0, megabytes), (2.0, 2.0, megabytes))
    samples = tuple(Sample(at, Usage(cpu, size * MEGABYTE, 0, 7 * MEGABYTE)) for at, cpu, size in rows)
    return TimedCase(name, Run(0.0, seconds, 0, False, samples, 0.02), status, "somewhere", note)


@pytest.fixture(autouse=True)
def _two_cpus(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def test_the_organisers_columns_then_ours(tmp_path):
    write_rows(
        [case(), TimedCase("b", Run(0.0, 1.0, 137), "out of memory", "somewhere", "Killed")],
        tmp_path / "t.csv",
    )
    with (tmp_path / "t.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first.items()) == [
        ("Name", "a_0000.nii.gz"),
        ("Time", "2.00"),
        ("MaxGPU_Mem", "0"),
        ("AUC_GPU_Time", "0"),
        ("MaxCPU_Utilization", "100.00"),  # 1 s in 0.5 s of two CPUs
        ("AUC_CPU_Time", "100.00"),  # 0.5 s at 100 %, 1 s at 50 %, nothing before
        ("MaxRAM", "100.00"),
        ("AUC_RAM_Time", "150"),  # 0.5 s at 25, 0.5 s at 75, 1 s at 100
        ("Status", "done"),
        ("Source", "somewhere"),
        ("CPU_Seconds", "2.00"),
        ("MaxPageCache", "7.00"),
        ("Harness_CPU_Seconds", "0.020"),
        ("Other_Load", "0.0"),
        ("Note", ""),
    ]
    assert (second["Status"], second["MaxRAM"], second["Note"]) == ("out of memory", "0.00", "Killed")


def test_samples(tmp_path):
    write_samples(case().run, tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().split() == [
        "seconds,cpu_percent,anonymous_mb,shared_mb,page_cache_mb",
        "0.500,0.0,50.0,0.0,7.0",
        "1.000,100.0,100.0,0.0,7.0",
        "2.000,50.0,100.0,0.0,7.0",
    ]


def test_summary():
    report = summary(
        [case(), case("b_0000.nii.gz", seconds=4, megabytes=300), case("c", "time limit", note="at 3")],
        [0.001, 0.002, 0.004],
    )
    assert report.splitlines() == [
        "2 of 3 cases done",
        "c: time limit. at 3",
        "time: mean 3.00 s, median 3.00 (2.50, 3.50), sd 1.41",
        "peak memory: mean 200.00 MB, median 200.00 (150.00, 250.00), sd 141.42",
        "CPU time: mean 2.00 s, median 2.00 (2.00, 2.00), sd 0.00",
        "slowest: b_0000.nii.gz, 4.00 s",
        "largest: b_0000.nii.gz, 300 MB",
        "samples: somewhere",
        "this program's own CPU time: 1.0% of the CPU time measured",
        "its share of each time: 2.0 ms to see the end (median of 3, at the most 4.0 ms)",
    ]


def test_summary_of_one_case_and_of_none_done():
    assert "sd -" in summary([case()], [])
    assert (
        summary([case(status="no mask", note="it said nothing")], [])
        == "0 of 1 cases done\na_0000.nii.gz: no mask. it said nothing"
    )


@pytest.mark.parametrize("count", [0, 1, 3], ids=["no sample", "one sample", "three"])
def test_curves(tmp_path, count):
    whole = case()
    run = Run(0.0, 2.0, 0, False, whole.run.samples[:count], 0.0)
    draw_curves(TimedCase("a", run, DONE, "somewhere"), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 500
