"""Notices: what is odd about a case, in words for a person and a code for a program, and what it says of the mask."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Of a mask: to be used, not without a look at it, not at all. In the order of their weight."""

    GOOD = "good"
    CHECK = "check"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning. code: the same in every version, and in every language that its text may ever be in."""

    code: str
    text: str
    verdict: Verdict = Verdict.GOOD


def heaviest(notices: Iterable[Notice]) -> Verdict:
    """The verdict that weighs most; good without any notice.

    >>> heaviest([Notice("unit", "converted"), Notice("empty", "no organ found", Verdict.CHECK)])
    <Verdict.CHECK: 'check'>
    """
    order = list(Verdict)
    return max((notice.verdict for notice in notices), key=order.index, default=Verdict.GOOD)
