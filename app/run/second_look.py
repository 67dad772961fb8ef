"""Second look: whether a mask is believed, and where it is not, whether the body lies otherwise than its header says.

What may be wrong is told by what both stages answered anyway (`app.steps.doubt`); only in doubt is the first one asked
again, about the body turned over in every way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from app.files.orientation import Orientation
from app.grid import Grid
from app.notice import Notice, Verdict
from app.run.stage import Answer
from app.run.view import View, turned
from app.steps.doubt import agreement, arrangement, lead
from app.system.definition import Doubt
from app.types import Labels

AS_IT_LIES = Orientation((0, 1, 2), (False, False, False))
LEFT_AND_RIGHT = Orientation((0, 1, 2), (False, False, True))
EXCHANGED = ("head and feet", "front and back", "left and right")
LEAST_GAIN = 1.2  # of what the first stage finds; between two ways to lie of one body there is more, as measured
MOST_VOXELS = 200  # along an axis, or up to twice as many, of what is looked at again
HOPELESS = 0.5  # of the agreement that is asked for

Look = Callable[[View], Answer]
"""The answer of the first stage to a view."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """agreement: Dice of two stages, of which the first had voxels of so many mm at the longest. lead: of the result's
    scores. arrangement: share of the relations that hold.
    """

    voxel_mm: float
    agreement: float
    lead: float
    arrangement: float


def evidence_of(first: Labels, answer: Answer, grid: Grid, doubt: Doubt, names: Sequence[str]) -> Evidence:
    """What the first stage's labels of `grid` and the result stage's answer say of each other."""
    return Evidence(
        max(length / n for length, n in zip(grid.extent, first.shape, strict=True)),
        agreement(first, answer.labels, answer.box, grid),
        lead(answer.scores, answer.labels),
        arrangement(answer.labels, doubt.relations(names)),
    )


def doubts(evidence: Evidence, doubt: Doubt) -> list[Notice]:
    """A warning for each thing that no mask of an undamaged scan says of itself."""
    notices = []
    least = doubt.agreement_at(evidence.voxel_mm)
    if evidence.agreement < least:
        hopeless = evidence.agreement < HOPELESS * least
        text = f"the stages agree on {100 * evidence.agreement:.0f} % of what they call organs; the mask may be wrong"
        notices.append(Notice("stages-disagree", text, Verdict.UNUSABLE if hopeless else Verdict.CHECK))
    if evidence.lead < doubt.min_lead:
        text = f"the network is unsure (its labels lead by {evidence.lead:.2g}); the mask may be wrong"
        notices.append(Notice("unsure", text, Verdict.CHECK))
    if evidence.arrangement < doubt.min_arrangement:
        text = (
            f"organs lie as in no body ({100 * evidence.arrangement:.0f} % of them as they should); do not use the mask"
        )
        notices.append(Notice("arrangement", text, Verdict.UNUSABLE))
    return notices


def better_turns(view: View, look: Look, doubt: Doubt, names: Sequence[str]) -> Iterator[tuple[Orientation, View]]:
    """Ways to lie in which the first stage finds more of a body than as the header has it, the likeliest first.

    First among mirror images, then with the axes of a slice exchanged, then with any; each only when the last one was
    not taken.
    """
    relations, thin = doubt.relations(names), _thinned(view)

    def found(seen: View) -> float:
        answer = look(seen)
        millilitres = float((answer.labels > 0).mean()) * seen.grid.voxel_ml * seen.voxels.size
        return millilitres * lead(answer.scores, answer.labels) * arrangement(answer.labels, relations) ** 2

    here = found(thin)
    for turns in _ways_to_lie():
        most, best = max(((found(turned(thin, turn)), turn) for turn in turns), key=lambda pair: pair[0])
        if most > LEAST_GAIN * here:
            yield best, turned(view, best)


def _thinned(view: View) -> View:
    """`view` of fewer voxels, for a stage that sees the whole scan coarsely: of a large one half of the time to look is
    bringing it to its grid."""
    z, y, x = (max(1, n // MOST_VOXELS) for n in view.grid.shape)
    voxels = view.voxels[::z, ::y, ::x]
    nz, ny, nx = voxels.shape
    grid = Grid((nz, ny, nx), (view.grid.spacing[0] * z, view.grid.spacing[1] * y, view.grid.spacing[2] * x))
    return View(voxels, grid, view.labels_in_scan, view.box_in_scan)


def _ways_to_lie() -> list[list[Orientation]]:
    flips = [(z, y, x) for z, y, x in product((False, True), repeat=3)]
    axes = [(z, y, x) for z, y, x in permutations(range(3))]
    groups = [axes[:1], axes[1:2], axes[2:]]  # as it lies; y and x exchanged; the others
    every = [[Orientation(order, flip) for order in group for flip in flips] for group in groups]
    return [[turn for turn in turns if turn != AS_IT_LIES] for turns in every]


def said_of(turn: Orientation, *, is_segmented: bool) -> Notice:
    """The warning of a body that lies otherwise than its header says."""
    how = "segmented as it lies" if is_segmented else "segmented as the header says, do not use the mask"
    if turn == LEFT_AND_RIGHT:
        text = f"the body is mirrored: the header is wrong, or the patient's organs lie so (situs inversus); {how}"
        return Notice("mirrored", text, Verdict.CHECK if is_segmented else Verdict.UNUSABLE)
    what = " and ".join(name for name, flip in zip(EXCHANGED, turn.flipped, strict=True) if flip)
    what = f"{what} are exchanged" if turn.axes == AS_IT_LIES.axes else "its axes are exchanged"
    text = f"the body does not lie as the header says ({what}); {how}"
    return Notice("turned", text, Verdict.CHECK if is_segmented else Verdict.UNUSABLE)
