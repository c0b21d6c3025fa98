"""Random rules and histories with everything that clients and calendars come up with, dozens at a time from one seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from services.ingest.domain.strict import is_strict_json, mend_surrogates
from shared.definitions.segment import Segment
from shared.rules.buckets import Calendar, Unit

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

PLACES: Final = (
    ("UTC", "2024-05-01"),
    ("Asia/Shanghai", "2024-05-01"),
    ("America/New_York", "2024-11-03"),
    ("America/New_York", "2024-03-10"),
    ("Australia/Lord_Howe", "2024-04-07"),
    ("Australia/Lord_Howe", "2024-10-06"),
    ("Africa/Cairo", "2024-04-26"),
    ("Africa/Cairo", "2024-11-01"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("America/Sao_Paulo", "2018-02-18"),
    ("America/St_Johns", "2010-11-07"),
)
"""Zones, and a day on which their clocks change: by half an hour, over a midnight that is not there, back over a midnight."""

EVENTS: Final = ("Order Completed", "下单 \\ 'x'\t", "Page Viewed", "Screen Viewed")
FIELDS: Final = ("p", "q", "a:b", "键 {", "properties", "traits")
KEYS: Final = {
    "p": ('"p"', '"\\u0070"'),
    "q": ('"q"',),
    "a:b": ('"a:b"', '"a\\u003ab"'),
    "键 {": ('"键 {"', '"\\u952e\\u0020{"'),
    "properties": ('"properties"',),
    "traits": ('"traits"',),
}
"""What a rule names, and how clients write it as JSON."""
NOISE: Final = ('"p.q": 7', '"a": {"p": 7, "traits": {"p": 8}}', '"é": [{"p": 7}, "}"]', '":": ":"', '"": 7', '"x": "\\"p\\":7,"')
NUMBERS: Final = (
    *(
        "0",
        "7",
        "7.0",
        "-0",
        "-0.0",
        "1e2",
        "1E+2",
        "70e-1",
        "1.5e-3",
        "-2.5",
        "99.99",
        "0.00005",
        "0.00015",
        "0.00005000000000000000000001",
    ),
    *("10.50004", "10.50005", "10.50015", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616"),
    *(
        "1000000000000",
        "1000000000000.0001",
        "-1000000000000.00005",
        "99999999999999.9999",
        "99999999999999.99995",
        "1e14",
        "1e300",
        "1e400",
    ),
    *("123456789.123456789", "5e-324", "1e-0005", "0." + "0" * 70 + "1", "7" + "0" * 70),
)
TEXTS: Final = (
    *("7", "7.0", "+7", " 7", "7 ", ".5", "5.", "1e2", "1e400", "٧", "0x7", "NaN", "a", "A", "", "null", "true", "[1]", "{}", "客", "é"),
    *("a\\tb\\n", "back\\\\slash", "it's", '\\"q\\"', "\\u0000", "\\ud83d\\ude00", "😀", "\\ud800", "\\udc00\\ud800", "\\u00e9", "\\/"),
    *(letter * size for letter in ("x", "客", "😀") for size in (249, 250, 251, 256, 257)),
)
OTHERS: Final = ("null", "true", "false", "[]", "[1]", "[1 , 2]", "{}", '{"p":7}', '{ "p" : {"q":[]}}', '["a","}"]')
LITERALS: Final = (
    *(
        "7",
        "+7",
        " 7",
        "1e2",
        "1e400",
        "1e14",
        "a",
        "",
        "null",
        "true",
        "[1]",
        "[]",
        "{}",
        "客",
        "é",
        "a\tb\n",
        "back\\slash",
        "it's",
        '"q"',
    ),
    *("\0", "😀", "\ufffd", "\ufffd\ufffd", "/", *(letter * size for letter in ("x", "客", "😀") for size in (249, 250))),
    *(True, False, Decimal("7"), Decimal("10.50"), Decimal("0.0001"), Decimal("0.0002"), Decimal("100"), Decimal("-2.5"), Decimal(0)),
    *(Decimal("99999999999999.9999"), Decimal("1000000000000"), Decimal("10.5001")),
)
BOUNDS: Final = tuple(one for one in LITERALS if isinstance(one, Decimal))
SPACES: Final = ("", "", "", " ", "\t", "\n ", "\r\n")
WITHIN: Final = ("1m", "3m", "45m", "90m", "24h", "25h", "48h", "5d", "30d", "31d", "60d", "400d", "999999d")
BETWEEN: Final = (("30m", "10m"), ("24h", "1h"), ("48h", "24h"), ("10d", "1d"), ("60d", "30d"), ("32d", "31d"), ("40d", "1d"))


@dataclass(frozen=True)
class Call:
    """One event of `person` (a profile id): its type, name, instant and JSON object, as ingest lets it through."""

    person: str
    message_id: str
    type: str
    event: str | None
    at: int
    body: bytes


class Wild:
    """Everything from one seed: a zone, an instant `now` near a border of days there, rules, and what people did."""

    def __init__(self, seed: int) -> None:
        self._rnd = random.Random(seed)
        self.zone, day = self._rnd.choice(PLACES)
        self._calendar = Calendar(self.zone)
        self._day = (date.fromisoformat(day) - date(1970, 1, 1)).days + self._rnd.choice((0, 0, 1, 31))
        self.now = self._near_border(self._day)

    def segments(self, count: int) -> list[Segment]:
        """So many segments s0, s1, … of up to four leaves or so."""
        found: list[Segment] = []
        while len(found) < count:
            rule = {"segment": f"s{len(found)}", "title": {"zh": "测试", "en": "test"}, "when": self._rule(3)}
            try:
                found.append(Segment.model_validate(rule))
            except ValidationError:
                continue  # what nothing can fulfil is refused
        return found

    def calls(self, people: Sequence[str], most: int) -> list[Call]:
        """What people did, in the order in which it arrives: nearly that of time, with some that come days late."""
        found = []
        for person in people:
            for number in range(self._rnd.randint(1, most)):
                found.append(self._call(person, f"{person} {number}"))
        late = {call.message_id: call.at + self._rnd.choice((0, 0, 1000, HOUR, 20 * DAY)) for call in found}
        return sorted(found, key=lambda call: late[call.message_id])

    def merges(self, people: Sequence[str]) -> list[tuple[str, str]]:
        """(loser, winner) in the order in which they happen; nobody loses twice, or wins after having lost."""
        alive, found = list(people), []
        for _ in range(self._rnd.randint(0, len(people) // 2)):
            loser = alive.pop(self._rnd.randrange(len(alive)))
            found.append((loser, self._rnd.choice(alive)))
        return found

    def choice(self, *values: Any) -> Any:
        return self._rnd.choice(values)

    def _near_border(self, day: int) -> int:
        at = self._calendar.start(Unit.DAY, day) + self._rnd.choice((0, 0, HOUR, -HOUR, 30 * MINUTE, -30 * MINUTE, 12 * HOUR))
        return at + self._rnd.choice((0, 0, -1, 1, MINUTE, -MINUTE, 5000, self._rnd.randrange(DAY)))

    def _call(self, person: str, message_id: str) -> Call:
        back = self._rnd.choice((0, 0, 1, 2, 5, 10, 29, 30, 31, 32, 59, 60, 61, 400))
        at = self._rnd.choice(
            (
                self._near_border(self._day - back),
                self.now - self._rnd.choice((1, 3, 10, 30, 45, 90)) * MINUTE + self._rnd.choice((-1, 0, 1, 30_000)),
                self.now // HOUR * HOUR - self._rnd.choice((1, 24, 25, 48, 5 * 24, 30 * 24)) * HOUR + self._rnd.choice((-1, 0, 1)),
            )
        )
        kind = self._rnd.choice(("track", "track", "track", "page", "screen", "identify", "identify", "group"))
        event = self._rnd.choice((*EVENTS, "Order Completed", "Else")) if kind == "track" else None
        return Call(person, message_id, kind, event, at, self._body())

    def _body(self) -> bytes:
        while True:
            members = [self._member() for _ in range(self._rnd.randint(0, 5))]
            space = self._rnd.choice(SPACES)
            body = mend_surrogates((f"{{{space}" + f"{space},{space}".join(members) + f"{space}}}").encode())
            if is_strict_json(body):
                return body

    def _member(self) -> str:
        if self._rnd.random() < 0.2:
            return self._rnd.choice(NOISE)
        space = self._rnd.choice(SPACES)
        return f"{self._rnd.choice(KEYS[self._field()])}{space}:{space}{self._json()}"

    def _field(self) -> str:
        return self._rnd.choice(("p", "p", "q", "q", *FIELDS))

    def _json(self) -> str:
        kind = self._rnd.random()
        if kind < 0.5:
            return self._rnd.choice(("7", "10.5", *NUMBERS))
        return f'"{self._rnd.choice((*TEXTS, *NUMBERS))}"' if kind < 0.8 else self._rnd.choice(OTHERS)

    def _rule(self, deep: int) -> dict[str, Any]:
        if deep and self._rnd.random() < 0.35:
            return {self._rnd.choice(("all", "any", "none")): [self._rule(deep - 1) for _ in range(self._rnd.randint(1, 3))]}
        kind = self._rnd.choice(("did", "did", "did_not", "first", "last", "trait", "trait"))
        if kind == "trait":
            return {"trait": self._field(), **self._condition()}
        where = {self._field(): self._condition() for _ in range(self._rnd.choice((0, 0, 1, 2)))}
        window = {} if self._rnd.random() < 0.25 else self._window()
        measured = self._aggregate() if kind in ("did", "did_not") else {}
        return {kind: self._rnd.choice((EVENTS[0], *EVENTS)), **window, **({"where": where} if where else {}), **measured}

    def _window(self) -> dict[str, Any]:
        if self._rnd.random() < 0.6:
            return {"within": self._rnd.choice(WITHIN)}
        return {"between": list(self._rnd.choice(BETWEEN))}

    def _aggregate(self) -> dict[str, Any]:
        kind = self._rnd.choice(("", "count", "sum", "min", "max"))
        if kind == "count":
            return {"count": self._bounds((0, 1, 2, 3))}
        return {kind: {"of": self._field(), **self._bounds(BOUNDS)}} if kind else {}

    def _bounds(self, numbers: Sequence[Any]) -> dict[str, Any]:
        return {word: self._rnd.choice(numbers) for word in self._rnd.sample(("gte", "gt", "lte", "lt", "eq"), self._rnd.choice((1, 1, 2)))}

    def _condition(self) -> dict[str, Any]:
        match self._rnd.choice(("is", "is_not", "in", "exists", "bounds", "both")):
            case "in":
                return {"in": self._rnd.choices(LITERALS, k=self._rnd.randint(1, 8))}
            case "exists":
                return {"exists": self._rnd.choice((True, False))}
            case "bounds":
                return {word: self._rnd.choice(BOUNDS) for word in self._rnd.sample(("gte", "gt", "lte", "lt"), self._rnd.choice((1, 2)))}
            case "both":
                return {"is_not": self._rnd.choice(LITERALS), "gte": self._rnd.choice(BOUNDS)}
            case word:
                return {word: self._rnd.choice(LITERALS)}
