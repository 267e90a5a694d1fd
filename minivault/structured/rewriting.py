"""Rewriting: a person's schema becomes one that says the same and holds only what the grammar's library keeps to.

What is ignored is left out, so that no extension of the library can be reached; what can be said in the library's words
is said in them; the rest is refused, naming its place. References become entries of one `$defs`, each rewritten once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from minivault.structured.checking import Checks
from minivault.structured.disjoint import Disjoint
from minivault.structured.key_names import with_named_keys
from minivault.structured.keywords import FORMATS, KEYWORDS
from minivault.structured.numbers import ensure_exact, tightened
from minivault.structured.patterns import narrowed
from minivault.structured.references import References, Schema
from minivault.structured.refusal import SchemaRefused

BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))


class Rewriting:
    """One schema's. `schema` is the result; `has_bound_keys` says that some object's keys follow a pattern."""

    def __init__(self, root: Schema, checks: Checks) -> None:
        self._references = References(root)
        self._checks = checks
        self._disjoint = Disjoint(self._references, checks)
        self._root = root
        self._path: list[str | int] = []
        self._names: dict[str, str] = {}
        self.definitions: dict[str, Schema] = {}
        self.has_bound_keys = False
        self._special: dict[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = {
            "$id": self._keep_id,
            "$ref": self._keep_ref,
            "const": self._keep_constant,
            "enum": self._keep_constant,
            "format": self._keep_format,
            "minProperties": self._keep_min_properties,
            "oneOf": self._keep_one_of,
            "pattern": lambda pattern, _schema: {"pattern": narrowed(pattern)},
            "patternProperties": self._keep_pattern_properties,
            "unevaluatedItems": self._keep_unevaluated,
            "unevaluatedProperties": self._keep_unevaluated,
            "uniqueItems": self._keep_unique_items,
        }
        self.schema = self._whole()

    def _whole(self) -> Schema:
        try:
            rewritten = self._rewrite(self._root)
        except SchemaRefused as refused:
            raise SchemaRefused(refused.reason, self._path) from None
        if isinstance(rewritten, bool):
            return rewritten
        return rewritten | ({"$defs": self.definitions} if self.definitions else {})

    @contextmanager
    def _at(self, *steps: str | int) -> Iterator[None]:
        """What is refused within is refused here: the path stays where it was."""
        self._path.extend(steps)
        yield
        del self._path[len(self._path) - len(steps) :]

    def _rewrite(self, schema: Schema) -> Schema:
        if isinstance(schema, bool):
            return schema
        result: dict[str, Any] = {}
        for keyword, value in self._simplified(schema).items():
            with self._at(keyword):
                kept = self._kept(keyword, value, schema)
            if "allOf" in kept:
                kept["allOf"] = [*result.get("allOf", ()), *kept["allOf"]]
            result |= kept
        return result

    def _simplified(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The same, with names, tuples and bounds said in the library's words."""
        if "propertyNames" in schema:
            with self._at("propertyNames"):
                schema = with_named_keys(schema, self._references, self._checks)
        if isinstance(schema.get("items"), list):
            rest = {"items": schema["additionalItems"]} if "additionalItems" in schema else {}
            others = {key: value for key, value in schema.items() if key not in ("items", "additionalItems")}
            schema = others | {"prefixItems": schema["items"]} | rest
        if not BOUNDS & schema.keys():
            return schema
        return {key: value for key, value in schema.items() if key not in BOUNDS} | tightened(schema)

    def _kept(self, keyword: str, value: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
        known = KEYWORDS.get(keyword)
        if known is None or known.fate == "ignored":
            return {}
        if known.fate == "refused":
            raise SchemaRefused("this cannot be held while an answer is written; leave it out")
        if keyword in self._special:
            return self._special[keyword](value, schema)
        return {keyword: self._below(value, known.shape)}

    def _below(self, value: Any, shape: str) -> Any:
        if shape == "schema":
            return self._rewrite(value)
        if shape == "list":
            return [self._step(index, item) for index, item in enumerate(value)]
        if shape == "map":
            return {name: self._step(name, item) for name, item in value.items()}
        return value

    def _step(self, step: str | int, schema: Schema) -> Schema:
        with self._at(step):
            return self._rewrite(schema)

    # -- keywords that need more than a look at their subschemas ---------------------------------------------------

    def _keep_ref(self, reference: str, _schema: Mapping[str, Any]) -> dict[str, Any]:
        target = self._references.target(reference)
        if reference not in self._names:
            self._names[reference] = name = str(len(self._names))
            self.definitions[name] = {}
            path, self._path = self._path, [reference]
            self.definitions[name] = self._rewrite(target)
            self._path = path
        return {"$ref": f"#/$defs/{self._names[reference]}"}

    def _keep_id(self, _value: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        if schema is not self._root:
            raise SchemaRefused("an id below the top changes what references mean; leave it out")
        return {}

    def _keep_constant(self, value: Any, _schema: Mapping[str, Any]) -> dict[str, Any]:
        ensure_exact(value)
        return {str(self._path[-1]): value}

    def _keep_format(self, name: str, _schema: Mapping[str, Any]) -> dict[str, Any]:
        return {"format": name} if name in FORMATS else {}

    def _keep_unique_items(self, value: bool, schema: Mapping[str, Any]) -> dict[str, Any]:
        if value and schema.get("maxItems", 2) > 1:
            raise SchemaRefused("repeats cannot be ruled out while an answer is written; leave it out")
        return {}

    def _keep_unevaluated(self, value: Schema, _schema: Mapping[str, Any]) -> dict[str, Any]:
        if value not in (True, {}):
            raise SchemaRefused("this cannot be held while an answer is written; use `items` or `additionalProperties`")
        return {}

    def _keep_pattern_properties(self, patterns: dict[str, Schema], _schema: Mapping[str, Any]) -> dict[str, Any]:
        self.has_bound_keys = self.has_bound_keys or bool(patterns)
        return {"patternProperties": self._below(patterns, "map")}

    def _keep_min_properties(self, num: int, schema: Mapping[str, Any]) -> dict[str, Any]:
        if schema.get("patternProperties") and num > len(set(schema.get("required", ()))):
            raise SchemaRefused("keys that follow a pattern cannot be counted; make as many keys required")
        return {"minProperties": num}

    def _keep_one_of(self, branches: list[Schema], schema: Mapping[str, Any]) -> dict[str, Any]:
        for (first, one), (second, other) in combinations(enumerate(branches), 2):
            if not self._disjoint(one, other):
                raise SchemaRefused(
                    f"a value may fit both branch {first} and branch {second}: use anyOf, or require a key with "
                    "another constant in each"
                )
        any_of = {"anyOf": self._below(branches, "list")}
        return {"allOf": [any_of]} if "anyOf" in schema else any_of
