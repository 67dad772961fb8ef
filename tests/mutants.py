"""Mutants: small faults put into a module's syntax tree, one at a time. What `tests.mutation` runs the tests against.

Operators: a comparison's edge or its opposite; arithmetic swapped; a whole or broken number one larger; True for False;
`and` for `or`; `not` and minus dropped; a call, an assignment to an attribute or element, or an augmented assignment
removed; nothing returned; a keyword argument dropped; a condition forced.

Left out by rule, since no test should hold them: what a person reads (docstrings, f-strings, the arguments of a raised
exception, the help of argparse), annotations and type aliases, decorators, zip's `strict` (a guard against lengths that
the types rule out), and what only runs as `__main__`.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Place: TypeAlias = tuple[tuple[str, int | None], ...]  # fields, and indices in lists, from the root to a node

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip
UNHELD = {"help", "metavar", "description", "epilog", "prog", "formatter_class", "strict"}  # keywords left out
LONGEST = 120  # characters of a statement that still fit into a name


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. name: where it is and what it does, the same after changes elsewhere. source: the whole module's."""

    name: str
    line: int
    source: str


def mutants(module: str, source: str) -> list[Mutant]:
    """All mutants of a module's source, in its order.

    >>> print(*(mutant.name for mutant in mutants("m", "def f(a):\\n    return a + 1")), sep="\\n")
    m.f: `return a + 1` -> `return None`
    m.f: `return a + 1` -> `return a - 1`
    m.f: `return a + 1` -> `return a + 2`
    """
    tree = ast.parse(source)
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for place, node, scope, statement in list(_places(tree, (), module, None)):
        for changed in _changes(node):
            name = f"{scope}: {_described(node, changed, statement, place)}"
            seen[name] += 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            found.append(Mutant(name, node.lineno, ast.unparse(_replaced(tree, place, changed))))
    return found


def _places(node: ast.AST, place: Place, scope: str, statement: tuple[ast.stmt, int] | None) -> Iterator[tuple]:
    """Each node that may be changed: the way to it from the root, what function or class it is in, and its statement
    with the length of the way to that."""
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_out(node, field, child):
                continue
            here = (*place, (field, index))
            inside = f"{scope}.{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else scope
            around = (child, len(here)) if isinstance(child, ast.stmt) else statement
            if around is not None and isinstance(child, ast.expr | ast.stmt):
                yield here, child, inside, around
            yield from _places(child, here, inside, around)


def _is_left_out(parent: ast.AST, field: str, child: ast.AST) -> bool:
    if field in ("annotation", "returns", "decorator_list") or isinstance(child, ast.JoinedStr):
        return True
    if isinstance(parent, ast.Raise) or (isinstance(child, ast.keyword) and child.arg in UNHELD):
        return True
    if isinstance(child, ast.If) and ast.unparse(child.test) == "__name__ == '__main__'":
        return True
    return isinstance(child, ast.AnnAssign) and ast.unparse(child.annotation) == "TypeAlias"


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for index, kind in enumerate(map(type, ops)):
                yield _with(node, ops=[*ops[:index], COMPARISONS[kind](), *ops[index + 1 :]])
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            yield _with(node, op=ARITHMETIC[type(op)]())
            if isinstance(node, ast.AugAssign):
                yield ast.Pass()
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield ast.Pass()
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.If() | ast.IfExp():
            yield from (_with(node, test=ast.Constant(forced)) for forced in (True, False))
        case ast.While():
            yield _with(node, test=ast.Constant(False))
        case ast.Call(keywords=keywords):
            for index, keyword in enumerate(keywords):
                if keyword.arg not in UNHELD:
                    yield _with(node, keywords=keywords[:index] + keywords[index + 1 :])
        case (
            ast.ListComp(generators=generators)
            | ast.SetComp(generators=generators)
            | ast.GeneratorExp(generators=generators)
        ):
            first, *others = generators
            if first.ifs:
                yield _with(node, generators=[_with(first, ifs=[]), *others])


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(tree: ast.AST, place: Place, node: ast.AST) -> ast.AST:
    """A tree with `node` at `place`; only the nodes on the way are new."""
    if not place:
        return node
    (field, index), rest = place[0], place[1:]
    value = getattr(tree, field)
    if index is None:
        return _with(tree, **{field: _replaced(value, rest, node)})
    return _with(tree, **{field: [*value[:index], _replaced(value[index], rest, node), *value[index + 1 :]]})


def _described(node: ast.AST, changed: ast.AST, statement: tuple[ast.stmt, int], place: Place) -> str:
    """Before and after, as the statement's first line, or as the expression alone where that is too long."""
    around, depth = statement
    before, after = (_first_line(each) for each in (around, _replaced(around, place[depth:], changed)))
    if len(before) > LONGEST or before == after:
        before, after = _first_line(node), _first_line(changed)
    return f"`{before}` -> `{after}`"


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]
