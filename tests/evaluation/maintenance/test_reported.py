import numpy as np
import pytest

from app.run import command_line
from evaluation.maintenance.reported import codes, reported
from tests.files import lps_affine, save_nifti
from tests.models import known_models


@pytest.fixture(autouse=True)
def made_up_networks(monkeypatch):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())


def test_every_scan_has_its_line(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    save_nifti(inputs / "a_0000.nii.gz", np.full((16, 16, 12), -1000, np.int16), lps_affine((4, 4, 5)))
    (inputs / "b_0000.nii.gz").write_bytes(b"no scan")
    first, second = reported(inputs, tmp_path / "outputs", "viscera")
    assert (first["case"], first["status"], second["case"], second["status"]) == ("a", "done", "b", "failed")
    assert "empty" in codes(first)
    assert codes({"warnings": [{"code": "thin"}, {"code": "flat"}]}) == "thin, flat"


@pytest.mark.parametrize("system", ["viscera", "nobody"])
def test_where_nothing_can_be_segmented_the_program_ends(tmp_path, system, capsys):
    (tmp_path / "inputs").mkdir()
    with pytest.raises(SystemExit) as stopped:
        reported(tmp_path / "inputs", tmp_path / "outputs", system)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
