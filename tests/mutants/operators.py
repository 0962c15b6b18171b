"""Faults that can be planted in a source: every place where an operator finds something to change.

A fault replaces one expression or statement by another and leaves the rest of the text alone, so that a diff shows it
as a person would have written it. Left out is what changes nothing that a test could see: annotations, docstrings,
messages of errors and logs, decorators, protocols.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Found = Iterator[tuple[ast.AST, ast.AST]]       # what is replaced, and by what

SWAPPED = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
           ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
EDGES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
SUMS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
        ast.Div: ast.Mult}
BITS = {ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift,
        ast.RShift: ast.LShift}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "argmin": "argmax",
            "argmax": "argmin"}
QUANTIFIERS = {"any": "all", "all": "any"}
CHOSEN_BY_MASK = ("flatnonzero", "count_nonzero", "compress")
SPEAKING = ("log", "logger", "logging", "warnings")


def changed(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def name_of(call: ast.AST) -> str:
    """The last name of what is called; empty for what has none."""
    function = call.func if isinstance(call, ast.Call) else call
    return getattr(function, "attr", getattr(function, "id", ""))


def renamed(call: ast.Call, names: dict[str, str]) -> Found:
    if isinstance(call, ast.Call) and (other := names.get(name_of(call))):
        field = "attr" if isinstance(call.func, ast.Attribute) else "id"
        yield call.func, changed(call.func, **{field: other})


def compared(node: ast.AST, table: dict) -> Found:
    for at, operator in enumerate(node.ops if isinstance(node, ast.Compare) else ()):
        if other := table.get(type(operator)):
            yield node, changed(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])


def computed(node: ast.AST, table: dict) -> Found:
    if isinstance(node, ast.BinOp | ast.AugAssign) and (other := table.get(type(node.op))):
        yield node, changed(node, op=other())


def joined(node: ast.AST) -> Found:
    if isinstance(node, ast.BoolOp):
        yield node, changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def negated(node: ast.AST) -> Found:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    for test in node.ifs if isinstance(node, ast.comprehension) else ():
        yield test, ast.UnaryOp(ast.Not(), test)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, node.operand


def deleted(node: ast.AST) -> Found:
    """Statements without which the rest still makes sense; a name that is then unknown would tell nothing."""
    stored = isinstance(node, ast.Assign) and not any(isinstance(target, ast.Name | ast.Tuple)
                                                      for target in node.targets)
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if stored or called or isinstance(node, ast.AugAssign | ast.Continue | ast.Break | ast.Delete):
        yield node, ast.Pass()


def swapped(node: ast.AST) -> Found:
    words = node.args if isinstance(node, ast.Call) else []
    for at in range(len(words) - 1):
        if ast.dump(words[at]) != ast.dump(words[at + 1]):
            yield node, changed(node, args=[*words[:at], words[at + 1], words[at], *words[at + 2 :]])


def left_out(node: ast.AST) -> Found:
    """Any keyword but `strict`, which only guards against mistakes elsewhere."""
    words = node.keywords if isinstance(node, ast.Call) else []
    for at in range(len(words)):
        if words[at].arg != "strict":
            yield node, changed(node, keywords=[*words[:at], *words[at + 1 :]])


def constants(node: ast.AST) -> Found:
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield node, ast.Constant(not value)
    elif isinstance(value, int):
        for other in {value + 1, value - 1, 0, 1} - {value}:
            yield node, ast.Constant(other)
    elif isinstance(value, float):
        for other in {value * 2, 0.0} - {value}:
            yield node, ast.Constant(other)
    elif value is None:
        yield node, ast.Constant(0)


def masks(node: ast.AST) -> Found:
    """One bit more, and one less, in a constant beside &, | or ^."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.BitXor):
        sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
        for side in sides:
            if isinstance(side, ast.Constant) and type(side.value) is int:
                value = side.value
                for bit in {value & -value or 1, 1 << value.bit_length()}:
                    yield side, ast.Constant(value ^ bit)


def returned(node: ast.AST) -> Found:
    if isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield node, ast.Return(ast.Constant(None))


def inverted(node: ast.AST) -> Found:
    """Masks of arrays: the other elements."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield node, node.operand
    yield from renamed(node, QUANTIFIERS)
    if not isinstance(node, ast.Call):
        return
    if name_of(node) in CHOSEN_BY_MASK and node.args:
        yield node.args[0], ast.Compare(node.args[0], [ast.Eq()], [ast.Constant(0)])
    if name_of(node) == "where" and len(node.args) == 3:
        yield node, changed(node, args=[node.args[0], node.args[2], node.args[1]])


def bounds(node: ast.AST) -> Found:
    if not isinstance(node, ast.Slice):
        return
    for name in ("lower", "upper", "step"):
        if bound := getattr(node, name):
            yield node, changed(node, **{name: None})
            if name != "step":
                yield bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))


def once(node: ast.AST) -> Found:
    """The first of many counts, the others do not."""
    if isinstance(node, ast.For):
        yield node.iter, ast.parse(f"list({ast.unparse(node.iter)})[:1]", mode="eval").body
    if name_of(node) == "len" and isinstance(node, ast.Call):
        yield node, ast.Constant(1)


OPERATORS: dict[str, Callable[[ast.AST], Found]] = {
    "comparison swapped": lambda node: compared(node, SWAPPED),
    "comparison off by one": lambda node: compared(node, EDGES),
    "sum changed": lambda node: computed(node, SUMS),
    "bits changed": lambda node: computed(node, BITS),
    "and/or": joined,
    "condition negated": negated,
    "statement deleted": deleted,
    "arguments swapped": swapped,
    "keyword left out": left_out,
    "constant": constants,
    "bit of a mask": masks,
    "return dropped": returned,
    "mask inverted": inverted,
    "slice bound": bounds,
    "min/max": lambda node: renamed(node, EXTREMES),
    "only once": once,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: octets `start` to `end` of the file at `path` (below the root) replaced by `text`."""

    path: str
    line: int
    lines: range        # the lines whose execution reaches it
    operator: str
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> tuple[str, str]:
        """The lines that change, without their indentation: as they were and as they are."""
        first = source.rfind(b"\n", 0, self.start) + 1
        last = source.find(b"\n", self.end)
        was = source[first:last]
        now = source[first : self.start] + self.text.encode() + source[self.end : last]
        return " ".join(was.decode().split()), " ".join(now.decode().split())


def faults(path: str, source: bytes) -> list[Mutant]:
    """All faults that can be planted in a file."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    for statement, node in visible(ast.parse(source)):
        for operator, change in OPERATORS.items():
            for old, new in change(node):
                start = starts[old.lineno - 1] + old.col_offset
                end = starts[old.end_lineno - 1] + old.end_col_offset
                text = written(new, source[start:end].decode())
                lines = range(min(statement.lineno, old.lineno), old.end_lineno + 1)
                found.setdefault((start, end, text), Mutant(path, old.lineno, lines, operator, start, end, text))
    return list(found.values())


def written(new: ast.AST, old: str) -> str:
    """The text of a node, in brackets where what stands around could tear it apart."""
    text = ast.unparse(ast.fix_missing_locations(new))
    simple = isinstance(new, ast.stmt | ast.Name | ast.Attribute | ast.Call | ast.Constant | ast.Slice)
    return text if simple and not text.startswith("-") else f"({text})"


def visible(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Every node that may be changed, with the statement it belongs to."""

    def walk(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.stmt, ast.AST]]:
        if hidden(node):
            return
        statement = node if isinstance(node, ast.stmt) else statement
        if (statement is not None and hasattr(node, "lineno")) or isinstance(node, ast.comprehension | ast.Slice):
            yield statement, node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, statement)

    yield from walk(tree, None)


def hidden(node: ast.AST) -> bool:
    """Whether nothing below a node is to be changed."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.ClassDef):
        return any(name_of(base) in ("Protocol", "NamedTuple") for base in node.bases)
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        return isinstance(function, ast.Attribute) and name_of(function.value) in SPEAKING
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.annotation) == "TypeAlias"
    return False
