"""Feature expressions of `--constraint` and `--prefer`: `a100&nvlink`, `red|blue`, `[rack1|rack2]`, `[big*2&small*4]`, `(a|b)&c`, `big*4`.

What each node must carry is a formula: names joined by `&` (or `,`) and `|`, read from left to right without precedence, with parentheses
of one level. One pair of square brackets asks for a set of nodes: `[a|b]` that all of them carry a, or all of them b (matching OR);
`[a*2&b*4]` that two carry a and four others b. A count without brackets, `a*4`, asks that at least four of the nodes carry a.

Guarantees: a parsed constraint formats back to an equal one; anything that is none of this is a SpecError that says what; at most
MAX_NAMES names and MAX_CHARACTERS characters. Facts: sbatch.1 and a real Slurm 22.05, which knows no `!`. Stricter than it on purpose: an
operator at the end, and a count beside other features without brackets, which it accepts and then misreads.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Mask = TypeVar("Mask")

MAX_CHARACTERS = 4096
MAX_NAMES = 64
MAX_COUNTED = 16
"""Most features with counts in one pair of brackets."""
MAX_COUNT = 1_000_000
"""Most nodes that a count may ask for."""
OPERATORS = "&|"
SPECIAL = frozenset("&|,()[]*!;: \t\n\"'")
"""What cannot be part of a feature's name here."""


class Formula:
    """What one node must carry: `steps` are (operator, operand), applied from left to right; the first operator is "".
    An operand is a name or, for parentheses, a Formula of names."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[tuple[str, str | Formula], ...]) -> None:
        self.steps = steps

    def __str__(self) -> str:
        return "".join([operator + (part if isinstance(part, str) else f"({part})") for operator, part in self.steps])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def names(self) -> list[str]:
        found: list[str] = []
        for _, part in self.steps:
            found += [part] if isinstance(part, str) else part.names()
        return found

    def evaluate(self, carriers: Callable[[str], Mask]) -> Mask:
        """The formula over anything with `&` and `|`: `carriers(name)` is who carries the name."""
        values = [carriers(part) if isinstance(part, str) else part.evaluate(carriers) for _, part in self.steps]
        result = values[0]
        for (operator, _), value in zip(self.steps[1:], values[1:], strict=True):
            result = result & value if operator == "&" else result | value  # type: ignore[operator]
        return result


class Constraint:
    """`every`: what each node must carry, or None; `choices`: of which all nodes must meet one and the same (empty: no such choice);
    `counts`: (formula, nodes) that so many nodes of their own must meet; `bracketed`: nodes beyond the counts must meet one of them."""

    __slots__ = ("bracketed", "choices", "counts", "every")

    def __init__(
        self,
        every: Formula | None = None,
        choices: tuple[Formula, ...] = (),
        counts: tuple[tuple[Formula, int], ...] = (),
        bracketed: bool = False,
    ) -> None:
        self.every = every
        self.choices = choices
        self.counts = counts
        self.bracketed = bracketed

    def __str__(self) -> str:
        parts = [f"{_operand(formula)}*{count}" for formula, count in self.counts]
        if self.bracketed:
            parts = [f"[{'&'.join(parts)}]"]
        if self.choices:
            parts.append(f"[{'|'.join([_operand(formula) for formula in self.choices])}]")
        if self.every is not None:
            parts.append(str(self.every))
        return "&".join(parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constraint) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Constraint({str(self)!r})"

    def names(self) -> tuple[str, ...]:
        """Every feature named, in order, once."""
        formulas = [formula for formula, _ in self.counts] + list(self.choices) + ([self.every] if self.every is not None else [])
        return tuple(dict.fromkeys([name for formula in formulas for name in formula.names()]))

    @property
    def least_nodes(self) -> int:
        """Nodes that the counts need together; 1 without counts."""
        return sum([count for _, count in self.counts]) or 1


def parse(text: str) -> Constraint:
    """The constraint of a text. SpecError says what is wrong with it."""
    if not 0 < len(text) <= MAX_CHARACTERS:
        raise SpecError(f"a constraint has 1 to {MAX_CHARACTERS} characters, this one {len(text)}")
    tokens = _tokens(text)
    if sum([token not in "&|()[]" and token[0] != "*" for token in tokens]) > MAX_NAMES:
        raise SpecError(f"--constraint={text[:64]}: more than {MAX_NAMES} features")
    parser = _Parser(tokens, text)
    constraint = parser.constraint()
    return constraint


def _operand(formula: Formula) -> str:
    """Inside brackets and before a count a formula of several names stands in parentheses."""
    return str(formula) if len(formula.steps) == 1 else f"({formula})"


def _tokens(text: str) -> list[str]:
    """Names, operators, brackets, and `*` with its number."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        end = at + 1
        if character == "*":
            while end < len(text) and text[end].isascii() and text[end].isdigit():
                end += 1
        elif character not in SPECIAL:
            while end < len(text) and text[end] not in SPECIAL:
                end += 1
        elif character not in "&|,()[]":
            raise SpecError(f"--constraint={text[:64]}: {character!r} is not allowed; features are joined by & and |")
        tokens.append("&" if character == "," else text[at:end])
        at = end
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    def fail(self, problem: str) -> SpecError:
        return SpecError(f"--constraint={self._text[:64]}: {problem}")

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def expect(self, wanted: str) -> None:
        found = self.take()
        if found != wanted:
            raise self.fail(f"{wanted} is expected, not {found or 'the end'}")

    def constraint(self) -> Constraint:
        """Operands and at most one pair of brackets, to the end of the text."""
        steps: list[tuple[str, str | Formula]] = []
        counts: list[tuple[Formula, int]] = []
        bracket: Constraint | None = None
        operator = ""
        while True:
            at_bracket = self.peek() == "["
            if at_bracket:
                if bracket is not None:
                    raise self.fail("one pair of brackets is allowed")
                if operator == "|":
                    raise self.fail("brackets are joined by & only")
                bracket = self.bracket()
            else:
                part, count = self.counted()
                if count:
                    counts.append((_formula(part), count))
                else:
                    steps.append((operator if steps else "", part))
            operator = self.take()
            if not operator:
                break
            if operator not in OPERATORS:
                raise self.fail(f"& or | is expected, not {operator}")
            if operator == "|" and (counts or at_bracket):
                raise self.fail("counts and brackets are joined by & only")
        if counts and (len(counts) > 1 or steps or bracket is not None):
            raise self.fail("counts beside other features need square brackets around all that is counted, as in [a*2&b*4]")
        every = Formula(tuple(steps)) if steps else None
        if bracket is not None:
            return Constraint(every, bracket.choices, bracket.counts, bracket.bracketed)
        return Constraint(every, counts=tuple(counts))

    def bracket(self) -> Constraint:
        """`[a|b|(c&d)]` or `[a*2&(b|c)*4]`."""
        self.expect("[")
        parts = [self.counted()]
        joined = ""
        while self.peek() != "]":
            operator = self.take()
            if operator not in OPERATORS or not operator:
                raise self.fail(f"] is expected, not {operator or 'the end'}")
            if joined and operator != joined:
                raise self.fail("within brackets either | or & joins all")
            joined = operator
            parts.append(self.counted())
        self.expect("]")
        if joined == "&" or (not joined and parts[0][1]):
            if not all([count for _, count in parts]):
                raise self.fail("within brackets what & joins needs counts, as in [a*2&b*4]")
            if len(parts) > MAX_COUNTED:
                raise self.fail(f"{len(parts)} counts, {MAX_COUNTED} are allowed")
            return Constraint(counts=tuple([(_formula(part), count) for part, count in parts]), bracketed=True)
        if any([count for _, count in parts]):
            raise self.fail("within brackets what | joins has no counts")
        return Constraint(choices=tuple([_formula(part) for part, _ in parts]))

    def counted(self) -> tuple[str | Formula, int]:
        """A name or a formula in parentheses, and the count behind it, 0 where there is none."""
        token = self.take()
        part: str | Formula
        if token == "(":
            part = self.parentheses()
        elif token and token[0] not in SPECIAL:
            part = token
        else:
            raise self.fail(f"a feature is expected, not {token or 'the end'}")
        if self.peek()[:1] != "*":
            return part, 0
        digits = self.take()[1:]
        if not digits or len(digits) > len(str(MAX_COUNT)) or not 1 <= int(digits) <= MAX_COUNT:
            raise self.fail(f"a count is 1 to {MAX_COUNT}, not {digits[:20] or 'empty'}")
        return part, int(digits)

    def parentheses(self) -> Formula:
        """Names and operators up to the closing one."""
        steps: list[tuple[str, str | Formula]] = []
        operator = ""
        while True:
            name = self.take()
            if not name or name[0] in SPECIAL:
                raise self.fail(f"within parentheses a feature is expected, not {name or 'the end'}")
            steps.append((operator, name))
            operator = self.take()
            if operator == ")":
                return Formula(tuple(steps))
            if not operator or operator not in OPERATORS:
                raise self.fail(f") is expected, not {operator or 'the end'}")


def _formula(part: str | Formula) -> Formula:
    return part if isinstance(part, Formula) else Formula((("", part),))
