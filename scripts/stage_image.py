"""Stage image: what an image holds of `systems/` and `weights/`, copied into a folder. Called by build_and_save.sh.

usage: python3 scripts/stage_image.py PROJECT OUT DEFAULT [--alone] [--with-torch]

OUT/systems and OUT/weights get the system DEFAULT, what it extends, its bundles, and of these only the engine files
that it names; unless --alone also every other system that runs on the same bundles. Each file is held against its
SHA-256 first. Needs Python 3.9 with pip and nothing else: the host that builds need not have numpy.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

try:
    import tomllib  # noqa: F401
except ImportError:  # before Python 3.11; pip brings the same parser, and app asks for it by this name
    try:
        from pip._vendor import tomli
    except ImportError:
        sys.exit("stage_image.py: needs Python 3.11, or an older one with pip 21.2 or newer")
    sys.modules["tomllib"] = tomli

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.errors import SetupError
from app.system.toml_file import read_toml

TORCHSCRIPT = "torchscript"
FIGURES = "measured.json"


def stages_of(table, path):
    """(bundle, engine) of every stage, each averaged bundle for itself. SetupError for what cannot be packed."""
    try:
        stages = [
            (name, stage["engine"])
            for stage in table["stage"].values()
            for name in [stage["bundle"], *stage.get("with_bundles", [])]
        ]
        elsewhere = [name for name, _ in stages if Path(name).is_absolute() or ".." in Path(name).parts]
    except (AttributeError, KeyError, TypeError) as error:
        raise SetupError(f"{path}: its stages do not name bundle and engine: {error!r}") from error
    if elsewhere:
        raise SetupError(
            f"{path}: bundle {elsewhere[0]} is not in weights/, from where images take theirs; move it there"
        )
    return stages


def bases_of(path):
    """The file, which can be read, and those that it extends, one after the other. SetupError for one elsewhere."""
    files = [path]
    while base := sys.modules["tomllib"].loads(files[-1].read_text(encoding="utf-8")).get("extends"):
        if "/" in base:
            raise SetupError(f"{files[-1]}: extends {base}, which is not in systems/, where images have theirs")
        files.append(path.with_name(f"{base}.toml"))
    return files


def systems_on(project, bundles, with_torch):
    """Systems that run on these bundles with what the image has; a file that cannot be read is none."""
    found = []
    for path in sorted((project / "systems").glob("*.toml")):
        try:
            stages = stages_of(read_toml(path), path)
            bases_of(path)
        except SetupError as error:
            print(f"left out: {error}")
            continue
        torch = any(engine == TORCHSCRIPT for _, engine in stages)
        if {name for name, _ in stages} <= bundles and (with_torch or not torch):
            found.append(path)
    return found


def copy_bundle(source, target, engines):
    """`bundle.json` and the files of some engines. SetupError for what is not as it says."""
    description = source / "bundle.json"
    try:
        files = json.loads(description.read_text(encoding="utf-8"))["files"]
        wanted = [pair for engine in sorted(engines) for pair in files[engine].items()]
    except OSError as error:
        raise SetupError(f"{description}: cannot be read: {error.strerror}; export the bundle first") from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise SetupError(f"{description}: names no files of {', '.join(sorted(engines))}: {error!r}") from error
    target.mkdir(parents=True)
    shutil.copy(description, target)
    for name, sha256 in wanted:
        path = source / name
        if not path.is_file():
            raise SetupError(f"{path}: named in bundle.json, not there")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SetupError(f"{path}: SHA-256 is not the one in bundle.json; restore it or export it again")
        shutil.copy(path, target)


def stage_image(project, out, default, alone, with_torch):
    """Fills `out`, in which neither folder may be yet. SetupError names what is wrong."""
    path = project / "systems" / f"{default}.toml"
    known = ", ".join(sorted(other.stem for other in path.parent.glob("*.toml")))
    stages = stages_of(read_toml(path, f"; known systems are {known}"), path)
    if not with_torch and any(engine == TORCHSCRIPT for _, engine in stages):
        raise SetupError(f"{path}: runs in TorchScript; build it --with-torch")
    systems = [path] if alone else systems_on(project, {name for name, _ in stages}, with_torch)
    (out / "systems").mkdir()
    for file in {base for system in systems for base in bases_of(system)}:
        shutil.copy(file, out / "systems")
    if (project / "systems" / FIGURES).exists():
        shutil.copy(project / "systems" / FIGURES, out / "systems")
    engines = {}
    for system in systems:
        for name, engine in stages_of(read_toml(system), system):
            engines.setdefault(name, set()).add(engine)
    for name, needed in engines.items():
        copy_bundle(project / "weights" / name, out / "weights" / name, needed)


if __name__ == "__main__":
    project, out, default = (word for word in sys.argv[1:] if not word.startswith("--"))
    try:
        stage_image(Path(project), Path(out), default, "--alone" in sys.argv, "--with-torch" in sys.argv)
    except (SetupError, OSError) as error:
        sys.exit(f"stage_image.py: {error}")
