"""What commands about definitions print."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Found = Mapping[str, Any]
NOTHING: Final = "nothing differs: set {number} has these files"
_WIDTH: Final = 9


def plan_lines(plan: Found) -> Iterator[str]:
    """What applying would change, definition by definition."""
    base = plan["base"]
    yield f"against set {base}, the newest:" if base else "nothing was ever applied; this would be set 1:"
    if plan["zone_before"] not in (None, plan["zone"]):
        yield f"  {'time zone':<{_WIDTH}} {plan['zone_before']} -> {plan['zone']}"
    yield from change_lines(plan["changes"])
    yield from plan["messages"]


def change_lines(changes: Iterable[Found]) -> Iterator[str]:
    for one in changes:
        states = [one[key] for key in ("state_before", "state") if one.get(key)]
        told = f" ({' -> '.join(dict.fromkeys(states))})" if states else ""
        used = ", ".join(f"{user['kind']} {user['name']}" for user in one["used_by"])
        yield f"  {one['change']:<{_WIDTH}} {one['kind']} {one['name']}{told}{f', used by {used}' if used else ''}"


def problem_lines(problems: Iterable[Found]) -> Iterator[str]:
    """As `rapport check` prints them."""
    for one in problems:
        yield ": ".join(part for part in (f"{one['file']}:{one['line']}", one["path"], one["message"]) if part)


def set_words(one: Found) -> str:
    """Which set, by whom, when and why."""
    by = one["applied_by_name"] or one["applied_by"]
    back = f", the files of set {one['rolled_back_to']}" if one["rolled_back_to"] else ""
    return f"set {one['number']} ({one['applied_at']}, {by}: {one['why']}{back})"


def changed_words(changed: Iterable[Found] | None) -> str:
    """What a set changed, in a line."""
    if changed is None:
        return "the set before it is no longer kept"
    return ", ".join(f"{one['change']} {one['kind']} {one['name']}" for one in changed) or "no definition"


def active_words(one: Found) -> str:
    """How far slots have switched."""
    found = one["active_in"]
    if found is None:
        return "not known now"
    told = f"active in {found['active']} of {found['slots']} slots"
    return f"{told}; people are decided anew in {found['sweeping']}" if found["sweeping"] else told
