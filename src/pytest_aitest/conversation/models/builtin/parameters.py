"""A tool's JSON Schema as the builtin model reads it: a flat list of the arguments that can be filled one by one.

Whatever a schema holds, reading it never raises: what is not understood is a parameter of kind "other", which is never
filled.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from .language import FROM, TO, read, split_name, stem, stem_all, stem_words

Path = tuple[str, ...]

_DEEPEST = 4  # levels of $ref and nesting that are followed; a schema may refer to itself
_MOST_PARAMETERS = 60
_MOST_ALTERNATIVES = 6
_KINDS = frozenset(("string", "number", "integer", "boolean"))
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LARGEST_LIMIT = 1e15

_IDENTIFYING = stem_words("id ids number key code sku uuid ref reference slug isbn")
_MONEY = stem_words("amount price cost budget value total sum fee pay money spend")
_COUNTS = stem_words("quantity count qty copies number limit top times size n results")
_TEXTS = stem_words(
    """query q search keyword keywords term terms text topic question phrase title message content body description note
    task item summary comment subject prompt input"""
)
_MOMENTS = stem_words("date day time when deadline due start end")
_CLOCK = stem_words("time hour")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument of a tool."""

    path: Path  # ("from_account",); longer inside a nested object
    kind: str = "other"  # "string", "number", "integer", "boolean" or "other"; of an array, that of its items
    many: bool = False  # an array
    required: bool = False
    options: tuple[Any, ...] = ()  # of its enum
    description: str = ""
    format: str = ""
    pattern: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)  # {"minimum": 1, "exclusiveMaximum": 100}

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return split_name(self.path[-1])

    @cached_property
    def stems(self) -> frozenset[str]:
        """The same without their endings."""
        return stem_all(self.words)

    @cached_property
    def nouns(self) -> frozenset[str]:
        """What it is about: `account` of `from_account`."""
        return stem_all(word for word in self.words if word not in FROM | TO)

    @cached_property
    def prepositions(self) -> frozenset[str]:
        """Words that introduce its value, where it is named after one of two directions."""
        words = set(self.words)
        return FROM if words & FROM else TO if words & TO else frozenset()

    @cached_property
    def known_values(self) -> tuple[Any, ...]:
        """Its options, else the words that its description quotes."""
        quotes = (token.text for token in read(self.description).tokens if token.kind == "quote")
        return self.options or (tuple(quotes) if self.kind == "string" else ())

    @cached_property
    def identifying(self) -> frozenset[str]:
        """Of its name what only says that it stands for a thing: `id` of `product_id`."""
        return self.stems & _IDENTIFYING

    @cached_property
    def is_identifier(self) -> bool:
        """Whether it takes a number or a code that stands for a thing: `issue_id`, but not `number_of_guests`."""
        return stem(self.words[-1] if self.words else "") in _IDENTIFYING or self.format == "uuid"

    @property
    def takes_a_number(self) -> bool:
        """Whether it takes a number that is not a name for something."""
        return self.kind in {"integer", "number"} and not self.options and not self.is_identifier

    @cached_property
    def is_text(self) -> bool:
        """Whether it takes whole phrases."""
        return bool(self.stems & _TEXTS) and not self.is_identifier

    @cached_property
    def is_moment(self) -> bool:
        """Whether it takes a day or a time."""
        return bool(self.stems & _MOMENTS) or self.format in {"date", "date-time", "time"}

    @cached_property
    def is_clock_time(self) -> bool:
        """Whether it takes a time without a day."""
        return self.format == "time" or (bool(self.stems & _CLOCK) and "date" not in self.words)

    @cached_property
    def is_money(self) -> bool:
        """Whether `$200` may be meant for it."""
        return bool(self.stems & _MONEY)

    @cached_property
    def is_count(self) -> bool:
        """Whether `two of them` may be meant for it."""
        return bool(self.stems & _COUNTS)

    @property
    def label(self) -> str:
        """Its name as one would say it."""
        return " ".join(self.words) or self.path[-1]

    def accepts(self, value: Any) -> bool:
        """Whether the schema lets it be `value`, or an item of it, as far as that is obvious."""
        if self.options:
            return value in self.options
        if self.kind == "string":
            return isinstance(value, str) and bool(value) and _matches(self.pattern, value)
        if self.kind == "boolean":
            return isinstance(value, bool)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        whole = isinstance(value, int) or value.is_integer()
        return (self.kind == "number" or (self.kind == "integer" and whole)) and self._allows(value)

    def _allows(self, number: float) -> bool:
        limits = self.limits
        return (
            number >= limits.get("minimum", number)
            and number <= limits.get("maximum", number)
            and number > limits.get("exclusiveMinimum", number - 1)
            and number < limits.get("exclusiveMaximum", number + 1)
        )


def _matches(pattern: str, value: str) -> bool:
    expression = _compile(pattern)
    return expression is None or expression.search(value) is not None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str] | None:
    """A pattern of JSON Schema; None where Python's dialect has no such thing, or warns of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile(pattern)
        except (re.error, Warning, OverflowError, RecursionError):
            return None


def read_parameters(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of an input schema, required ones first."""
    found = []
    for parameter in _parameters(schema, root=schema, path=(), required=True):
        found.append(parameter)
        if len(found) == _MOST_PARAMETERS:
            break
    return tuple(sorted(found, key=lambda parameter: not parameter.required))


def _parameters(
    schema: Mapping[str, Any], *, root: Mapping[str, Any], path: Path, required: bool
) -> Iterator[Parameter]:
    node = _flat(schema, root)
    properties, needed = node.get("properties"), node.get("required")
    if not isinstance(properties, Mapping):
        return
    names = set(_strings(needed))
    for name, value in properties.items():
        inner = _flat(value, root)
        where = (*path, str(name))
        must = required and name in names
        if isinstance(inner.get("properties"), Mapping) and len(where) < _DEEPEST:
            yield from _parameters(inner, root=root, path=where, required=must)
        else:
            yield _parameter(inner, root=root, path=where, required=must)


def _parameter(node: Mapping[str, Any], *, root: Mapping[str, Any], path: Path, required: bool) -> Parameter:
    many = node.get("type") == "array"
    item = _flat(node.get("items"), root) if many else node
    options = _options(item)
    kind = item.get("type", "string" if not item or options else "other")
    return Parameter(
        path=path,
        kind=kind if isinstance(kind, str) and kind in _KINDS else "other",
        many=many,
        required=required,
        options=options,
        description=_text(node.get("description")),
        format=_text(item.get("format")),
        pattern=_text(item.get("pattern")),
        limits={
            name: limit
            for name in _LIMITS
            if isinstance(limit := item.get(name), int | float) and -_LARGEST_LIMIT < limit < _LARGEST_LIMIT
        },
    )


def _flat(node: object, root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A schema without references and alternatives: `null` is left out, then the first alternative stands for all."""
    if not isinstance(node, Mapping) or depth > _DEEPEST:
        return {}
    parts = [_flat(_target(node["$ref"], root), root, depth + 1)] if "$ref" in node else []
    parts += [_flat(part, root, depth + 1) for part in _list(node.get("allOf"))]
    for key in ("anyOf", "oneOf"):
        alternatives = [_flat(part, root, depth + 1) for part in _list(node.get(key))]
        alternatives = [part for part in alternatives if part.get("type") != "null"]
        if alternatives:
            options = [option for part in alternatives for option in _options(part)]
            parts.append(alternatives[0] | ({"enum": options} if options else {}))
    flat = {key: value for part in parts for key, value in part.items()} | dict(node)
    if isinstance(flat.get("type"), list):
        flat["type"] = next((kind for kind in flat["type"] if kind != "null"), "null")
    return flat


def _target(ref: object, root: Mapping[str, Any]) -> object:
    """What a `$ref` within the schema points to."""
    node: object = root
    for part in str(ref).removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _options(node: Mapping[str, Any]) -> tuple[Any, ...]:
    options = _list(node.get("enum"), most=300) or ([node["const"]] if "const" in node else [])
    return tuple(option for option in options if isinstance(option, str | int | float))


def _list(value: object, *, most: int = _MOST_ALTERNATIVES) -> list[Any]:
    return list(value[:most]) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _strings(value: object) -> list[str]:
    return [item for item in _list(value, most=10_000) if isinstance(item, str)]


def _text(value: object) -> str:
    return value[:2_000] if isinstance(value, str) else ""


def stem_values(parameter: Parameter) -> frozenset[str]:
    """The stems of the words in its known values."""
    values = (value for value in parameter.known_values[:100] if isinstance(value, str))
    return frozenset(stem(word) for value in values for word in split_name(value))
