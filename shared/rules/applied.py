"""The plan of a set of definitions that was applied."""

from shared.definitions.applied import Applied
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.rules.plan import Plan


def plan_of(applied: Applied) -> Plan:
    """Raises DefinitionError if this release cannot read the set's segments, and as compile_plan.

    A segment that is being filled is counted for, and nobody is in it.
    """
    one, kind = applied.set, Segment.kind
    since = {name: definition.since for (of, name), definition in one.by_name.items() if of == kind}
    gone = {name: at for (of, name), at in applied.removed.items() if of == kind}
    segments = [found.definition for found in applied.read.needed(Segment).of(Segment)]
    return compile_plan(segments, one.zone, gone | since, one.filling)
