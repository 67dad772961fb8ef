"""Second look: whether a mask is believed, and where it is not, whether the body lies otherwise than its header says.

What may be wrong is told by what both stages answered anyway (`app.steps.doubt`); only in doubt is the first one asked
again, about the body turned over in every way.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product

from app.files.orientation import Orientation
from app.grid import Grid
from app.notice import Notice, Verdict
from app.run.stage import Answer
from app.run.turn import AS_IT_LIES
from app.run.view import View, lying, turned
from app.steps.doubt import Evidence, agreement, arrangement, lead
from app.system.definition import Doubt
from app.types import Labels, Voxels

LEFT_AND_RIGHT = Orientation((0, 1, 2), (False, False, True))
EXCHANGED = ("head and feet", "front and back", "left and right")
LOOKED_AT = 200  # voxels along an axis, or up to twice as many, of what is looked at again

NOT_TURNED = Notice(
    "not-turned",
    "whether the body lies otherwise than the header says was not tried to its end: that needs more memory than is "
    "allowed here",
    Verdict.CHECK,
)

Look = Callable[[Voxels, Grid], Answer]
"""The answer of the first stage to voxels (z, y, x) on a grid."""


def evidence_of(
    first: Labels, answer: Answer, grid: Grid, doubt: Doubt, names: Sequence[str], *, located: bool
) -> Evidence:
    """What the first stage's labels of `grid` and the result stage's answer say of each other.

    located: False where the first stage has found too little to tell the other where to look. That is warned of, and
    no second opinion: of a tenth of a liver it sees nothing, and the fine network is right.
    """
    return Evidence(
        max(length / n for length, n in zip(grid.extent, first.shape, strict=True)),
        agreement(first, answer.labels, answer.box, grid) if located else None,
        answer.score_unit * lead(answer.scores, answer.labels),
        arrangement(answer.labels, doubt.relations(names)),
    )


def doubts(evidence: Evidence, doubt: Doubt) -> list[Notice]:
    """A warning for each thing that no mask of an undamaged scan says of itself."""
    notices = []
    least = doubt.agreement_at(evidence.voxel_mm)
    if evidence.agreement is not None and evidence.agreement < least:
        hopeless = evidence.agreement < doubt.unusable_below * least
        text = f"the stages agree on {100 * evidence.agreement:.0f} % of what they call organs; the mask may be wrong"
        notices.append(Notice("stages-disagree", text, Verdict.UNUSABLE if hopeless else Verdict.CHECK))
    if evidence.lead < doubt.min_lead:
        text = f"the network is unsure (its labels lead by {evidence.lead:.2g}); the mask may be wrong"
        alone = evidence.agreement is None  # as in noise: nothing speaks for the mask then
        notices.append(Notice("unsure", text, Verdict.UNUSABLE if alone else Verdict.CHECK))
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
    relations = doubt.relations(names)
    thinned = _thinned(view.voxels, view.grid)

    def found(turn: Orientation) -> float:
        """ml of organs, times how far they lead, times the share of relations that hold, squared: of a mirrored body,
        whose organs lead as far, two in three still do."""
        voxels, grid = lying(*thinned, turn)
        answer = look(voxels, grid)
        millilitres = float((answer.labels > 0).mean()) * grid.voxel_ml * voxels.size
        leads = answer.score_unit * lead(answer.scores, answer.labels)
        return millilitres * leads * arrangement(answer.labels, relations) ** 2

    here = found(AS_IT_LIES)
    for turns in _ways_to_lie():
        most, best = max(((found(turn), turn) for turn in turns), key=lambda pair: pair[0])
        if most > doubt.min_gain * here:
            yield best, turned(view, best)


def _thinned(voxels: Voxels, grid: Grid) -> tuple[Voxels, Grid]:
    """Every n-th voxel of each axis (z, y, x), for a stage that sees the whole scan coarsely.

    Of a large one most of the time to look is bringing it to the stage's grid.
    """
    z, y, x = (max(1, n // LOOKED_AT) for n in grid.shape)
    thin = voxels[::z, ::y, ::x]
    nz, ny, nx = thin.shape
    return thin, Grid((nz, ny, nx), (grid.spacing[0] * z, grid.spacing[1] * y, grid.spacing[2] * x))


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
