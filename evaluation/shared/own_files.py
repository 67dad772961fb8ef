"""Own files: what a command wrote is known by what it begins with, its folders by a file in them. Nothing else is
replaced."""

from pathlib import Path

from app.errors import SetupError

LOOKED_AT = 4096  # bytes, from the start
MARKER = ".made-by-viscera"


def refuse_foreign(path: Path, mark: str, *beside: Path) -> None:
    """SetupError where writing `path` would replace what is not ours: a file whose start does not hold `mark`.

    beside: files that are always written together with it, so that they are ours where it is there and ours, unless
    they are links. What is empty is nobody's, and a pipe or device loses nothing. OSError where a file cannot be read.
    """
    if not _is_taken(path):
        foreign = next(filter(_is_taken, beside), None)
    elif path.is_file() and mark.encode() in _start(path):
        foreign = next((other for other in beside if other.is_symlink()), None)  # to whatever it may be
    else:
        foreign = path
    if foreign is not None:
        raise _refusal(foreign)


def own_folder(folder: Path) -> None:
    """Makes a folder whose content may be removed, or takes one that was made by this before. SetupError: another's."""
    if folder.is_symlink() or (folder.exists() and not (folder / MARKER).is_file()):
        raise _refusal(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def _refusal(path: Path) -> SetupError:
    return SetupError(f"{path}: exists and is not of this command; choose another name, or move it away")


def _is_taken(path: Path) -> bool:
    if not path.exists():
        return path.is_symlink()
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LOOKED_AT)
