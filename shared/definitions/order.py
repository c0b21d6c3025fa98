"""The order of definitions that speak of one another: each after those that it speaks of."""

from collections.abc import Iterable, Mapping

from shared.definitions.segment import Segment


class Circle(ValueError):
    """Definitions that speak of one another in a circle; `names`: each speaks of the next, and the last of the first."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"these segments speak of one another in a circle: {' -> '.join((*names, names[0]))}")
        self.names = names


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """By how many others stand below each, then by name. Raises KeyError for a name that is not there, Circle for a circle."""
    by_name = {segment.name: segment for segment in segments}
    depths = depths_of({name: spoken_of(segment) for name, segment in by_name.items()})
    return [by_name[name] for name in sorted(by_name, key=lambda name: (depths[name], name))]


def spoken_of(segment: Segment) -> list[str]:
    """The segments that the rule of this one speaks of."""
    return [one.name for one in segment.references() if one.kind == Segment.kind]


def with_spoken_of(segments: Iterable[Segment], others: Mapping[str, Segment]) -> list[Segment]:
    """These segments and all of which their rules speak, directly or not, in order. Raises as `ordered`."""
    found = {segment.name: segment for segment in segments}
    waiting = [name for segment in found.values() for name in spoken_of(segment)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = others[name]
            waiting += spoken_of(others[name])
    return ordered(found.values())


def circle_in(speaks_of: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """The names of a circle, if there is one."""
    try:
        depths_of(speaks_of)
    except Circle as error:
        return error.names
    return None


def depths_of(speaks_of: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """How long the longest chain of names below each is. Raises KeyError for a name that is not there, Circle for a circle."""
    depths: dict[str, int] = {}
    for start in sorted(speaks_of):
        path = [start] if start not in depths else []
        waiting = [iter(sorted(set(speaks_of[start])))] if path else []
        while path:
            below = next(waiting[-1], None)
            if below is None:
                name = path.pop()
                waiting.pop()
                depths[name] = max((depths[one] + 1 for one in speaks_of[name]), default=0)
            elif below in path:
                raise Circle(tuple(path[path.index(below) :]))
            elif below not in depths:
                path.append(below)
                waiting.append(iter(sorted(set(speaks_of[below]))))
    return depths
