"""JSON of others. What is refused: `test_hostile`."""

import json

from training.nnunet.tables import read_table


def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path):
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"file_ending": ".nii.gz"}), encoding="utf-8-sig")
    assert read_table(file).text("file_ending") == ".nii.gz"
