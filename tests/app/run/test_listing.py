import json

from app.run.listing import as_json, as_text, label_text
from app.system.catalogue import Entry, Measured, Proof

MEASURED = Measured(0.8594, 0.93, 7.66, 1040.4, 6.8, ("a", "b"), ("b",), "a CPU")
ENTRIES = [
    Entry("ours", "one model", ("fine",), 6.84, ("background", "liver"), MEASURED),
    Entry("new", "another", ("coarse", "fine"), 10.0, ("background", "liver")),
    Entry("half", "a third", ("fine",), 4.0, (), Measured(mean_dice=0.5, cases=("a",))),
    Entry("brought", "a fourth", ("team",), 5.0, (), proof=Proof(2.34e-6, "a network 1.0")),
    Entry("proved", "a fifth", ("team",), 5.0, (), proof=Proof(2.34e-6, "a network 1.0", 0.99987, "its program 2.0")),
    Entry("lost", "a fourth", ("lost",), error="lost/bundle.json: cannot be read"),
    Entry("torn", error="torn.toml: not TOML"),
]


def test_two_lines_a_system():
    assert as_text(ENTRIES, "ours").splitlines() == [
        "ours (default): one model",
        "    fine: 6.8 MB; DSC 0.859, NSD 0.930, 7.7 s, peak memory 1040 MB (2 scans, 1 of them failed; a CPU)",
        "new: another",
        "    coarse, fine: 10.0 MB; not measured",
        "half: a third",
        "    fine: 4.0 MB; DSC 0.500, NSD not measured, seconds not measured, peak memory not measured "
        "(1 scan; CPU unknown)",
        "brought: a fourth",
        "    team: 5.0 MB; not measured; raw scores within 2e-06 of a network 1.0",
        "proved: a fifth",
        "    team: 5.0 MB; not measured; raw scores within 2e-06 of a network 1.0, 99.987% of a scan's voxels as its "
        "program 2.0",
        "lost: a fourth",
        "    cannot be run: lost/bundle.json: cannot be read",
        "torn",
        "    cannot be run: torn.toml: not TOML",
    ]
    assert as_text([], "ours") == ""


def test_one_list_with_every_key_in_every_entry():
    table = json.loads(as_json(ENTRIES, "ours"))
    assert [entry["name"] for entry in table] == ["ours", "new", "half", "brought", "proved", "lost", "torn"]
    assert {frozenset(entry) for entry in table} == {
        frozenset({"name", "title", "default", "bundles", "size_mb", "labels", "measured", "proof", "error"})
    }
    assert [entry["default"] for entry in table] == [True, *6 * [False]]
    assert table[0]["measured"]["seconds"] == 7.66
    assert (table[1]["measured"], table[1]["error"]) == (None, None)
    assert (table[6]["title"], table[6]["size_mb"]) == (None, None)
    assert table[4]["proof"]["same_label"] == 0.99987


def test_lines_break_between_labels_alone():
    text = label_text(["background", *["a_rather_long_name"] * 20])
    lines = text.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 115
    assert " ".join(lines) == ", ".join(["0 background", *(f"{n} a rather long name" for n in range(1, 21))])
    assert all(line.endswith(",") for line in lines[:-1])
