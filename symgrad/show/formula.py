"""The formula engine: an optimised graph in let-form, in textbook notation.

The answer comes first; parts that are used more than once, or that a reader would name, are named
below it: δ for gradients of pre-activations, the user's own names for the user's expressions.
Nodes are rendered in topological order, each once; what is bound to a name is written by that
name, so that text stays linear in the graph however deep or shared it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from symgrad.ir.graph import Derivative, Graph
from symgrad.ir.names import cotangents, value_names, variables
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Size
from symgrad.ir.walk import consumers, reachable
from symgrad.show.notation import LATEX, MATHML, UNICODE, Style, split_name

# Binding strengths: what is weaker than its place needs parentheses.
RELATION, SUM, QUOTIENT, HADAMARD, PRODUCT, POWER, ATOM = range(7)

_SILENT = frozenset({"broadcast_to", "expand_dims", "squeeze", "reshape", "stop_gradient"})
_LONGEST = 72
_DEEPEST = 12
_NAMED_DEPTH = 3
"""A sum or product that the user named is written by its name from this depth on, a function of
one from one less: so h1 = tanh(x W) is, and z = x W + b is not.
"""
LINES = 200
_LAST_AXIS = frozenset({"softmax", "log_softmax", "logsumexp"})
"""Functions of the last axis unless they say otherwise."""


@dataclass(frozen=True, slots=True)
class Part:
    """The text of a value, how strongly it binds, and how many ops it shows and nests.

    ``opposite`` is the value without its minus sign, for one that starts with such a sign;
    ``factors`` are those of a plain product, each with its place in the order of writing;
    ``quotient`` is what a fraction is a fraction of.
    """

    text: str
    strength: int = ATOM
    weight: int = 0
    depth: int = 0
    opposite: Part | None = None
    factors: tuple[tuple[int, str], ...] = ()
    quotient: tuple[Part, Part] | None = None


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula in let-form: answers, and what the names in them stand for."""

    answers: list[tuple[str, str]]
    lets: list[tuple[str, str]]


def unicode_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs, for a terminal."""
    found = _Writer(graph, UNICODE).write()
    rows = [f"{name} = {text}" if name else text for name, text in found.answers]
    lets = found.lets if lines is None else found.lets[:lines]
    width = max((len(name) for name, _ in lets), default=0)
    for number, (name, text) in enumerate(lets):
        lead = "  where  " if number == 0 else "         "
        rows.append(f"{lead}{name:<{width}} = {text}")
    hidden = len(found.lets) - len(lets)
    if hidden:
        rows.append(f"         … {hidden} more; sg.pretty(..., lines=None) prints them all")
    return "\n".join(rows)


def latex_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs as LaTeX."""
    found = _Writer(graph, LATEX).write()
    rows = [f"{name} &= {text}" if name else f"&{text}" for name, text in found.answers]
    lets = found.lets if lines is None else found.lets[:lines]
    if not lets and len(rows) == 1:
        return rows[0].replace("&", "", 1)
    for number, (name, text) in enumerate(lets):
        lead = r"\text{where}\quad " if number == 0 else ""
        rows.append(f"{lead}{name} &= {text}")
    if len(lets) < len(found.lets):
        rows.append(r"&\vdots")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def mathml_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs as a MathML Core element."""
    found = _Writer(graph, MATHML).write()
    lets = found.lets if lines is None else found.lets[:lines]
    rows = [("", name, text) for name, text in found.answers]
    rows += [("" if i else "where", name, text) for i, (name, text) in enumerate(lets)]
    if len(lets) < len(found.lets):
        rows.append(("", "", "<mo>⋮</mo>"))
    cells = [
        f"<mtr><mtd><mtext>{lead}</mtext></mtd>{_RIGHT}<mrow>{name}</mrow></mtd>"
        f"<mtd>{'<mo>=</mo>' if name else ''}</mtd>{_LEFT}<mrow>{text}</mrow></mtd></mtr>"
        for lead, name, text in rows
    ]
    table = "\n".join(cells)
    return (
        '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
        f'<mtable displaystyle="true">\n{table}\n</mtable></math>'
    )


_LEFT, _RIGHT = (f'<mtd style="text-align: {side}">' for side in ("left", "right"))
"""MathML Core has no alignment of columns; CSS does."""


class _Writer:
    """The state of one formula: names, parts, definitions."""

    def __init__(self, graph: Graph, style: Style):
        self.graph = graph
        self.style = style
        self.users = consumers(graph.nodes)
        self.user_names = value_names(graph)
        self.parts: dict[Node, Part] = {}
        self.lets: list[tuple[Node, str, str]] = []
        self.taken = {self.style.name(name) for name in self.user_names.values()}
        self.deltas = _delta_names(graph, self.taken, style)
        self.constants = 0
        self.fresh: Counter[str] = Counter()

    def write(self) -> Formula:
        for node in self.graph.nodes:
            part = self._part(node)
            name = self._name_for(node, part)
            if name is not None:
                self.lets.append((node, name, (part.opposite or part).text))
                part = self.negated(Part(name)) if part.opposite else Part(name)
            self.parts[node] = part
        answers = [
            (self._label(node, derivative), self._answer(node))
            for node, derivative in zip(self.graph.outputs, self.graph.derivatives, strict=True)
        ]
        return Formula(answers, self._where())

    def _answer(self, node: Node) -> str:
        return self.parts[node].text

    def _where(self) -> list[tuple[str, str]]:
        """Return the definitions: the backward ones in order of computation, then the forward."""
        backward = [let for let in self.lets if let[0].origin.gradient_of is not None]
        forward = [let for let in self.lets if let[0].origin.gradient_of is None]
        return [(name, text) for _, name, text in (*backward, *forward)]

    def _label(self, node: Node, derivative: Derivative | None) -> str:
        if derivative is None:
            name = self.user_names.get(node)
            shown = self.style.name(name) if name and not node.is_input else ""
            return "" if shown == self.parts[node].text else shown
        of = _result_name(derivative)
        wrt = [self.style.name(_target_name(x)) for x in derivative.wrt]
        return self.style.partial(self.style.name(of), wrt)

    # Which values get a name

    def _name_for(self, node: Node, part: Part) -> str | None:
        if (part.opposite or part).weight == 0 or node.op.name in _SILENT or _is_transpose(node):
            return None
        shared = len(self.users[node]) > 1 or self._shared_through_views(node)
        if not shared and self._is_answer(node):
            return None
        if node in self.deltas and (len(self.deltas) > 1 or shared):
            return self.deltas[node]
        backward = node.origin.gradient_of is not None
        user = self.user_names.get(node)
        affine = node.op.name in ("add", "subtract", "multiply", "divide", "matmul")
        nested = part.depth >= (_NAMED_DEPTH if affine else _NAMED_DEPTH - 1)
        if user and not backward and (shared or nested):
            return self.style.name(user)
        length = self.style.length(part.text)
        tiny = part.weight <= 1 and length <= 10 and part.strength >= PRODUCT
        if (shared and not tiny) or length > _LONGEST or part.depth >= _DEEPEST:
            return self._fresh("g" if backward else "u")
        return None

    def _is_answer(self, node: Node) -> bool:
        """Return whether a value is printed as an answer, or is one but for its sign."""
        answers = self.graph.outputs
        return node in answers or any(
            user.op.name == "negative" and user in answers for user in self.users[node]
        )

    def _shared_through_views(self, node: Node) -> bool:
        count = 0
        for user in self.users[node]:
            silent = user.op.name in _SILENT or _is_transpose(user)
            count += len(self.users[user]) if silent else 1
        return count > 1

    def _fresh(self, letter: str) -> str:
        number = self.fresh[letter] + 1
        while (name := self.style.name(f"{letter}{number}")) in self.taken:
            number += 1
        self.fresh[letter] = number
        self.taken.add(name)
        return name

    # The text of one value

    def _part(self, node: Node) -> Part:
        value = scalar_value(node)
        if value is not None:
            return self._number(value)
        rule = _RULES.get(node.op.name)
        inner = [self.parts[x] for x in node.inputs]
        part = rule(self, node, inner) if rule else self._by_template(node, inner)
        if node.op.name in _SILENT:
            return part
        weight = 1 + sum(p.weight for p in inner)
        depth = 1 + max((p.depth for p in inner), default=0)
        shown = bool(node.inputs)
        if not shown:
            return Part(part.text, part.strength, opposite=part.opposite)
        return replace(part, weight=weight, depth=depth)

    def _number(self, value: bool | int | float) -> Part:
        if not isinstance(value, bool) and value < 0:
            return self.negated(Part(self.style.number(-value)))
        return Part(self.style.number(value))

    def negated(self, part: Part) -> Part:
        """Return a part with a minus sign, or without the one it has."""
        if part.opposite is not None:
            return part.opposite
        text = self.style.prefix(self.style.minus, self.fit(part, QUOTIENT))
        return Part(text, SUM, part.weight, part.depth, opposite=part)

    def _by_template(self, node: Node, inner: list[Part]) -> Part:
        op = node.op
        texts = [part.text for part in inner]
        if (op.text or op.latex) and not op.variadic:
            slots = ", ".join(f"{{{i}}}" for i in range(len(inner)))
            template = op.text or f"{op.name}({slots})"
            relation = template.startswith("{0} ")
            if relation:
                texts = [self.fit(part, HADAMARD) for part in inner]
            text = self.style.filled(template, op.latex, texts)
            return Part(text, RELATION if relation else ATOM)
        axes = node.attrs.get("axis")
        last = op.name in _LAST_AXIS and axes == (node.inputs[0].type.ndim - 1,)
        silent = axes is None or node.type.ndim == 0 or last or op.variadic
        note = [] if silent else [self.style.literal(f"axis={_axes_text(axes)}")]
        return Part(self.style.call(op.name.replace("_", " "), texts + note))

    def fit(self, part: Part, strength: int) -> str:
        """Return the text of a part, in parentheses where its place binds more strongly."""
        return part.text if part.strength >= strength else self.style.brackets(part.text)


# Rules for the ops whose form depends on their operands


def _leaf(w: _Writer, node: Node, _inner: list[Part]) -> Part:
    return Part(w.style.name(str(node.attrs["name"])))


def _constant(w: _Writer, node: Node, _inner: list[Part]) -> Part:
    value = node.attrs["value"]
    if value.ndim == 1 and value.size <= 4:
        return Part(w.style.index("", [w.style.number(v) for v in value.tolist()]))
    w.constants += 1
    return Part(w.style.name(f"C{w.constants}"))


def _size(w: _Writer, node: Node, _inner: list[Part]) -> Part:
    return _size_part(w, node.attrs["size"])


def _size_part(w: _Writer, size: Size) -> Part:
    single = len(size.terms) == 1
    factors, coefficient = size.terms[0]
    if single and all(isinstance(f, str) for f in factors):
        words = [w.style.name(str(f).lstrip("_")) for f in factors]
        if coefficient != 1:
            words.insert(0, w.style.number(coefficient))
        return Part(w.style.product(words), ATOM if len(words) == 1 else PRODUCT)
    return Part(w.style.literal(str(size).replace("*", " ")), SUM)


def _silent(_w: _Writer, _node: Node, inner: list[Part]) -> Part:
    return inner[0]


def _cast(w: _Writer, node: Node, inner: list[Part]) -> Part:
    if node.inputs[0].type.dtype.kind == "b" and node.type.dtype.kind != "b":
        return Part(w.style.indicator(inner[0].text))
    return inner[0]


def _add(w: _Writer, _node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if b.opposite is None and a.opposite is not None:
        a, b = b, a
    if b.opposite is not None:
        return _infix(w, w.fit(a, SUM), w.style.minus, w.fit(b.opposite, QUOTIENT))
    return _infix(w, w.fit(a, SUM), w.style.plus, w.fit(b, SUM))


def _infix(w: _Writer, left: str, sign: str, right: str, strength: int = SUM) -> Part:
    return Part(w.style.infix(left, sign, right), strength)


def _subtract(w: _Writer, _node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if b.opposite is not None:
        return _infix(w, w.fit(a, SUM), w.style.plus, w.fit(b.opposite, SUM))
    return _infix(w, w.fit(a, SUM), w.style.minus, w.fit(b, QUOTIENT))


def _negative(w: _Writer, _node: Node, inner: list[Part]) -> Part:
    return w.negated(inner[0])


def _multiply(w: _Writer, node: Node, inner: list[Part]) -> Part:
    if any(part.opposite for part in inner):
        positive = [part.opposite or part for part in inner]
        product = _multiply(w, node, positive)
        return product if all(part.opposite for part in inner) else w.negated(product)
    a, b = node.inputs
    left, right = inner
    if _is_outer(node):
        row = w.style.transpose(w.fit(right, ATOM))
        return Part(w.style.product([w.fit(left, PRODUCT), row]), PRODUCT)
    if a.type.ndim and b.type.ndim and scalar_value(a) is None and scalar_value(b) is None:
        first, second = _in_hadamard(w, left), _in_hadamard(w, right)
        return _infix(w, first, w.style.times, second, HADAMARD)
    return _juxtaposed(w, [(_rank(a), left), (_rank(b), right)])


def _juxtaposed(w: _Writer, operands: list[tuple[int, Part]]) -> Part:
    """Return a product of numbers and a value: numbers first, then sizes, scalars, tensors."""
    fractions = [(rank, part) for rank, part in operands if part.quotient is not None]
    if len(fractions) == 1:
        # a (b / c) is (a b) / c, which is how one writes it.
        [(_, fraction)] = fractions
        assert fraction.quotient is not None
        top, bottom = fraction.quotient
        inner = [(r, top if part is fraction else part) for r, part in operands]
        return _quotient(w, _juxtaposed(w, inner), bottom)
    factors: list[tuple[int, str]] = []
    strength = PRODUCT
    for rank, part in operands:
        if part.factors:
            factors += part.factors
            continue
        if part.strength == HADAMARD and all(r < rank for r, p in operands if p is not part):
            strength = HADAMARD
            factors.append((9, part.text))
        else:
            # A factor in brackets comes after the plain ones of its kind.
            factors.append((2 * rank + (part.strength < PRODUCT), w.fit(part, PRODUCT)))
    factors = _gathered(w, sorted(factors, key=lambda factor: factor[0]))
    text = w.style.product([factor for _, factor in factors])
    return Part(text, strength, factors=tuple(factors) if strength == PRODUCT else ())


def _gathered(w: _Writer, factors: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return factors with a name that occurs several times written once, as a power."""
    counts = Counter(text for _, text in factors)
    return [
        (kind, w.style.power(text, w.style.number(counts[text])) if repeats else text)
        for kind, text in dict.fromkeys(factors)
        for repeats in [counts[text] > 1 and w.style.is_name(text)]
        for _ in range(1 if repeats else counts[text])
    ]


def _rank(node: Node) -> int:
    """Return a sort key: numbers before sizes before scalars before tensors."""
    if scalar_value(node) is not None:
        return 0
    inputs = {x.op.name for x in node.inputs}
    if node.op.name == "size" or (inputs and inputs <= {"constant", "size"}):
        return 1
    return 2 + bool(node.type.ndim)


def _in_hadamard(w: _Writer, part: Part) -> str:
    """Return an operand of ⊙; matrix products are bracketed, as textbooks do."""
    if part.strength == PRODUCT and part.weight:
        return w.style.brackets(part.text)
    return w.fit(part, HADAMARD)


def _is_outer(node: Node) -> bool:
    a, b = node.inputs
    return a.type.ndim == 2 and a.type.shape[1] == 1 and b.type.ndim == 1


def _divide(w: _Writer, node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if a.opposite is not None:
        return w.negated(_divide(w, node, [a.opposite, b]))
    top = node.inputs[0]
    if a.quotient is not None and top.op.name == "divide" and top not in w.deltas:
        numerator, first = (w.parts[x] for x in top.inputs)
        if first.text == b.text:
            square = w.style.power(w.fit(b, ATOM), w.style.number(2))
            return _quotient(w, numerator, Part(square, POWER))
        if not node.type.ndim:
            product = w.style.product([w.fit(first, PRODUCT), w.fit(b, PRODUCT)])
            return _quotient(w, numerator, Part(product, PRODUCT))
    return _quotient(w, a, b)


def _quotient(w: _Writer, top: Part, bottom: Part) -> Part:
    if w.style.stacked:
        text = w.style.fraction(top.text, bottom.text)
        return Part(text, PRODUCT, quotient=(top, bottom))
    over = w.fit(top, QUOTIENT) if top.strength != HADAMARD else w.style.brackets(top.text)
    text = w.style.fraction(over, w.fit(bottom, POWER))
    return Part(text, QUOTIENT, quotient=(top, bottom))


def _logistic_loss(w: _Writer, node: Node, inner: list[Part]) -> Part:
    z, y = inner
    if node.type.ndim:
        left, right = (_in_hadamard(w, part) for part in inner)
        product = w.style.infix(right, w.style.times, left)
    else:
        product = _juxtaposed(w, [(2, y), (2, z)]).text
    return _infix(w, w.style.call("softplus", [z.text]), w.style.minus, product)


def _power(w: _Writer, node: Node, inner: list[Part]) -> Part:
    base, exponent = inner
    if scalar_value(node.inputs[1]) == 0.5:
        return Part(w.style.root(base.text))
    return Part(w.style.power(w.fit(base, ATOM), exponent.text), POWER)


def _matmul(w: _Writer, node: Node, inner: list[Part]) -> Part:
    if any(part.opposite for part in inner):
        product = _matmul(w, node, [part.opposite or part for part in inner])
        return product if all(part.opposite for part in inner) else w.negated(product)
    left, right = (w.fit(part, PRODUCT) for part in inner)
    if node.inputs[0].type.ndim == 1:
        left = w.style.transpose(w.fit(inner[0], ATOM))
    return Part(w.style.product([left, right]), PRODUCT)


def _transpose(w: _Writer, node: Node, inner: list[Part]) -> Part:
    if not _is_transpose(node):
        axes = w.style.literal(str(node.attrs["axes"]))
        return Part(w.style.call("transpose", [inner[0].text, axes]))
    return Part(w.style.transpose(w.fit(inner[0], ATOM)), ATOM)


def _is_transpose(node: Node) -> bool:
    if node.op.name != "transpose":
        return False
    axes = node.attrs["axes"]
    return len(axes) > 1 and axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)


def _sum(w: _Writer, node: Node, inner: list[Part]) -> Part:
    x = node.inputs[0]
    dims = [x.type.shape[axis] for axis in node.attrs["axis"]]
    named = [str(dim) for dim in dims if isinstance(dim, Size)]
    nameless = len(named) < len(dims) or any(name.startswith("_") for name in named)
    if node.type.ndim and nameless:
        axes = w.style.literal(f"axis={_axes_text(node.attrs['axis'])}")
        return Part(w.style.call("sum", [inner[0].text, axes]))
    sign = w.style.total(named if node.type.ndim else [])
    return Part(w.style.spaced(sign, w.fit(inner[0], HADAMARD)), PRODUCT)


def _axes_text(axes: object) -> str:
    if isinstance(axes, tuple):
        return str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    return str(axes)


def _squeeze(w: _Writer, node: Node, inner: list[Part]) -> Part:
    x = node.inputs[0]
    if x.op.name == "slice" and inner[0].weight:
        return _slice(w, x, [w.parts[x.inputs[0]]], node.attrs["axes"])
    return inner[0]


def _slice(w: _Writer, node: Node, inner: list[Part], dropped: Sequence[int] = ()) -> Part:
    keys = []
    attrs, whole = node.attrs, node.inputs[0].type.shape
    for axis, (dim, start, size, step) in enumerate(
        zip(whole, attrs["start"], attrs["size"], attrs["step"], strict=True)
    ):
        if axis in dropped:
            keys.append(str(start))
            continue
        stop = start + step * size
        first = "" if start == 0 else str(start)
        last = "" if stop == dim else str(stop)
        keys.append(f"{first}:{last}" + ("" if step == 1 else f":{step}"))
    while len(keys) > 1 and keys[-1] == ":":
        keys.pop()
    return Part(w.style.index(w.fit(inner[0], ATOM), [w.style.literal(key) for key in keys]))


def _gather(w: _Writer, node: Node, inner: list[Part]) -> Part:
    x, *indices = inner
    before = [w.style.literal(":")] * node.attrs["axis"]
    return Part(w.style.index(w.fit(x, ATOM), before + [i.text for i in indices]))


_RULES: dict[str, Callable[[_Writer, Node, list[Part]], Part]] = {
    "input": _leaf,
    "constant": _constant,
    "size": _size,
    "cast": _cast,
    "add": _add,
    "subtract": _subtract,
    "negative": _negative,
    "multiply": _multiply,
    "divide": _divide,
    "logistic_loss": _logistic_loss,
    "power": _power,
    "matmul": _matmul,
    "transpose": _transpose,
    "sum": _sum,
    "slice": _slice,
    "gather": _gather,
    **dict.fromkeys(_SILENT, _silent),
    "squeeze": _squeeze,
}


# Names


def _result_name(derivative: Derivative) -> str:
    node = derivative.of
    return dict(variables(reachable([node]))).get(node) or node.name or "f"


def _target_name(node: Node) -> str:
    return node.name or dict(variables(reachable([node]))).get(node) or node.op.name


def _delta_names(graph: Graph, taken: set[str], style: Style) -> dict[Node, str]:
    """Return names for the gradients of pre-activations: δ with the number of the layer."""
    found = {
        node: of
        for node, of in cotangents(graph).items()
        if of.type.ndim and of.op.name in ("add", "subtract", "matmul") and _contracts(of)
    }
    digits = {node: _layer_digits(of) for node, of in found.items()}
    clear = all(digits.values()) and len(set(digits.values())) == len(digits)
    ordered = sorted(found, key=lambda node: found[node].number)
    names: dict[Node, str] = {}
    for number, node in enumerate(ordered, start=1):
        subscript = digits[node] if clear else ("" if len(ordered) == 1 else str(number))
        name = style.name(f"delta{subscript}")
        while name in taken:
            name += "'"
        taken.add(name)
        names[node] = name
    return names


def _affine(node: Node) -> list[Node]:
    """Return what a pre-activation is made of, down to what is neither a sum nor a product."""
    found: list[Node] = []
    stack = [node]
    while stack and len(found) < LINES:
        inner = stack.pop()
        found.append(inner)
        if inner is node or inner.op.name in ("add", "subtract", "matmul", "transpose", *_SILENT):
            stack.extend(inner.inputs)
    return found


def _contracts(node: Node) -> bool:
    return any(inner.op.name == "matmul" for inner in _affine(node))


def _layer_digits(node: Node) -> str:
    """Return the number that the parameters of a pre-activation share: 2 for h1 W2 + b2."""
    numbers = {split_name(str(x.attrs["name"]))[1] for x in _affine(node) if x.is_parameter}
    return numbers.pop() if len(numbers) == 1 else ""
