"""Scores that tests of their summary share: two cases, two structures, one of them absent from one truth."""

from evaluation.scores.scoring import Score
from evaluation.shared.protocol import STRUCTURES

LIVER, SPLEEN = STRUCTURES[0], STRUCTURES[2]
SCORES = [
    Score("a", LIVER, 0.9, 0.8, True),
    Score("a", SPLEEN, 1.0, 1.0, False, "absent from both"),
    Score("b", LIVER, 0.7, 0.6, True),
    Score("b", SPLEEN, 0.5, 0.2, True),
]
