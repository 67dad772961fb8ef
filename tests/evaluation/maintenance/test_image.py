from pathlib import Path

from evaluation.maintenance import image


def test_phase_one_is_measured_with_calls_that_app_has():
    """The program runs inside the image, where no test sees it: its names are looked up here."""
    program = image.LOCALISER.split("scan, system")[0]
    exec(compile(program, "phase one", "exec"), names := {})
    assert {"load_bundle", "load_engine", "Model", "run_stage", "read", "use_threads", "WEIGHTS"} <= set(names)
    system = names["load_system"]("viscera")
    bundle = system.stage[system.region["abdomen"].of].bundle
    assert (names["WEIGHTS"] / bundle / "bundle.json").is_file()
    assert Path(names["WEIGHTS"]).name == "weights"
