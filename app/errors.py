"""Errors: what ends one case, and what ends a run. Each message is one line that names the file and what to do."""


class VisceraError(Exception):
    """Anything that Viscera itself refuses."""

    def __str__(self) -> str:
        line = " ".join(super().__str__().splitlines())  # a name in it may hold anything
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


class CaseError(VisceraError):
    """One scan cannot be done; its line says why and the batch goes on."""


class SetupError(VisceraError):
    """A bundle, a system or an argument is unusable; no scan could be done with it."""
