"""What a slot remembers beside its states: fences, seen causes, clocks, published positions. Kept as fields of one Redis hash.

| field | value |
|---|---|
| `seq` | number of the last commit |
| `lf` | the slot's life: grows with each takeover, also over what the store has forgotten (epoch ms of the takeover, or more) |
| `f|<topic>` | fence: the next offset of that input to apply |
| `c|<topic>|<lane>` | highest cause seen on that input in that lane: `offset << 24 | nth` |
| `k|<slot>` | highest clock read of resolver slot `slot`, epoch ms |
| `p|<topic>|<partition>` | next offset after the last record this slot has published there |
| `t` | `<offset>|<n>`: timers are firing at the clock record at `offset` of input `on`, n outputs are made; `-1|0`: none are |
| `rp|<n>` | `<partition>|<block>|<day>|<bits>`: dead letters that have been replayed (replayed.py) |
| `r|<position>` | one of them, as an earlier release wrote it: read, never written |
| `on` | the input that was read last |
| `rb` | `1` while the slot is rebuilding |
| `kept` | `<seq>|<timers>|<bytes of outbox>`: what commit `seq` left; the store's own, to notice what is gone (forgetting.py) |
| `v` | the highest version of a stage that wrote here (`Stage.writes`); absent: 1 |
| `g` | the last order to rebuild that was carried out: the slot was forgotten for it, or kept what nobody could give back |
| `ah` | `1`: whoever owns the slot can ask the archive for what the log no longer has |
| `ar` | `<folded>|<about all>`: rows of the archive, while and after it is folded from them |
| `cut` | where its history changes hands from the archive to the log (cut.py); absent: the log has all of it |
| `ds` | the set of definitions in force: when it was activated, epoch ms; absent: none |
| `sw` | `<keys done of the page>|<last key>`: a sweep is under way behind that key; `-1|`: none is |
| `me` | `1`: the index of keys that the slot has met is whole |
| `hg` | the slot stands still, as a part of it is lost: the newest order to rebuild when that was noticed (forgetting.py) |
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from shared.contracts import redis_keys
from shared.contracts.slots import partition_count
from shared.runtime.cut import Cut, decode_cut, encode_cut
from shared.runtime.replayed import Replayed

K = TypeVar("K")


class Sweep(NamedTuple):
    """A sweep has come past key `after`; `done` keys of the page under way are behind it."""

    after: str
    done: int


@dataclass(slots=True)
class Meta:
    """Decoded meta. `stored` is what the store holds, None if nothing: `changed()` gives the fields that differ from it."""

    seq: int = 0
    fences: dict[str, int] = field(default_factory=dict)
    seen: defaultdict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    clocks: dict[int, int] = field(default_factory=dict)
    published: dict[tuple[str, int], int] = field(default_factory=dict)
    fired: tuple[int, int] = (-1, 0)
    replayed: Replayed = field(default_factory=Replayed)
    on: str = ""
    rebuilding: bool = False
    written: int = 1
    generation: int = 0
    life: int = 0
    cut: Cut | None = None
    archive: bool = False
    rows: tuple[int, int] = (0, 0)
    definitions: int = 0
    sweep: Sweep | None = None
    met: bool = False
    held: bool = False
    """It stands still, as a part of it is lost. Read only: the store writes `hg` (forgetting.py)."""
    stored: "Meta | None" = None

    @classmethod
    def decode(cls, fields: Mapping[str, str]) -> "Meta":
        meta = cls()
        earlier = []
        for name, value in fields.items():
            kind, _, rest = name.partition("|")
            match kind:
                case redis_keys.COMMIT:
                    meta.seq = int(value)
                case redis_keys.LIFE:
                    meta.life = int(value)
                case "f":
                    meta.fences[rest] = int(value)
                case "c":
                    topic, _, lane = rest.partition("|")
                    meta.seen[topic][lane] = int(value)
                case "k":
                    meta.clocks[int(rest)] = int(value)
                case "p":
                    topic, _, partition = rest.rpartition("|")
                    meta.published[topic, int(partition)] = int(value)
                case "t":
                    offset, _, n = value.partition("|")
                    meta.fired = (int(offset), int(n))
                case "r":
                    earlier.append(rest)
                case "rp":
                    meta.replayed.read(rest, value)
                case "on":
                    meta.on = value
                case "v":
                    meta.written = int(value)
                case "g":
                    meta.generation = int(value)
                case "ah":
                    meta.archive = value == "1"
                case "ds":
                    meta.definitions = int(value)
                case "sw":
                    done, _, after = value.partition("|")
                    meta.sweep = Sweep(after, int(done)) if int(done) >= 0 else None
                case "me":
                    meta.met = value == "1"
                case "hg":
                    meta.held = True
                case "ar":
                    folded, _, about = value.partition("|")
                    meta.rows = (int(folded), int(about))
                case "cut":
                    meta.cut = decode_cut(value)
                case redis_keys.REBUILDING:
                    meta.rebuilding = value == "1"
                case _:  # the token, and what a newer version may add
                    pass
        meta.replayed.earlier = frozenset(earlier)
        meta.stored = meta.copy() if fields else None
        return meta

    def changed(self) -> dict[str, str]:
        """Fields to write so that the stored meta becomes this one; remembers them as stored. It is called with each commit."""
        old = self.stored or _NOTHING
        fields = {redis_keys.COMMIT: str(self.seq)}
        if self.fired != old.fired or self.stored is None:
            fields["t"] = f"{self.fired[0]}|{self.fired[1]}"
        if self.rebuilding != old.rebuilding or self.stored is None:
            fields[redis_keys.REBUILDING] = "1" if self.rebuilding else "0"
        if self.generation != old.generation:
            fields["g"] = str(self.generation)
        if self.written != old.written:
            fields["v"] = str(self.written)
        if self.life != old.life:
            fields[redis_keys.LIFE] = str(self.life)
        if self.archive != old.archive:
            fields["ah"] = "1" if self.archive else "0"
        if self.rows != old.rows:
            fields["ar"] = f"{self.rows[0]}|{self.rows[1]}"
        if self.definitions != old.definitions:
            fields["ds"] = str(self.definitions)
        if self.sweep != old.sweep:
            fields["sw"] = "-1|" if self.sweep is None else f"{self.sweep.done}|{self.sweep.after}"
        if self.met != old.met:
            fields["me"] = "1" if self.met else "0"
        if self.cut is not None and self.cut != old.cut:
            fields["cut"] = encode_cut(self.cut)
        if self.on != old.on or self.stored is None:
            fields["on"] = self.on
        fields.update((f"f|{topic}", str(offset)) for topic, offset in _moved(self.fences, old.fences))
        for topic, lanes in self.seen.items():
            fields.update((f"c|{topic}|{lane}", str(at)) for lane, at in _moved(lanes, old.seen.get(topic, {})))
        fields.update((f"k|{slot}", str(now)) for slot, now in _moved(self.clocks, old.clocks))
        published = _moved(self.published, old.published)
        fields.update((f"p|{topic}|{partition}", str(offset)) for (topic, partition), offset in published)
        fields |= self.replayed.changed()
        self.stored = None
        self.stored = self.copy()
        return fields

    def begun_after(self, before: "Meta") -> "Meta":
        """Itself, in a life later than that of `before`, which this process remembers, and than all others by the clock of its host."""
        self.life = max(before.life, self.life, time.time_ns() // 1_000_000 - 1) + 1
        return self

    def copy(self) -> "Meta":
        """A copy to go back to if a batch is thrown away."""
        seen: defaultdict[str, dict[str, int]] = defaultdict(dict, {topic: dict(lanes) for topic, lanes in self.seen.items()})
        return Meta(
            self.seq,
            dict(self.fences),
            seen,
            dict(self.clocks),
            dict(self.published),
            self.fired,
            self.replayed.copy(),
            self.on,
            self.rebuilding,
            self.written,
            self.generation,
            self.life,
            self.cut,
            self.archive,
            self.rows,
            self.definitions,
            self.sweep,
            self.met,
            self.held,
            self.stored,
        )

    @property
    def now(self) -> int:
        """The stage's time: the smallest clock over all resolver slots, 0 until each has been read."""
        return time_of(self.clocks)


def time_of(clocks: Mapping[int, int]) -> int:
    """A stage's time by the highest clock that it has read of each resolver slot, epoch ms; 0 until each has been read."""
    return min(clocks.values()) if len(clocks) == partition_count() else 0


_NOTHING: Final = Meta()


def _moved(now: Mapping[K, int], before: Mapping[K, int]) -> Iterable[tuple[K, int]]:
    """What differs. Mostly nothing does, and to see that costs a tenth of making sets of both."""
    return () if now == before else now.items() - before.items()
