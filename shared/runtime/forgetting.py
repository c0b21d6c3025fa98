"""A slot whose store has lost a part of what it kept forgets the rest, and is folded anew.

States without the meta that says how far they have been folded would be folded on, and count twice. Timers that are gone never fire; an
outbox that is gone may not have been published. So each commit writes down how many timers and how many bytes of outbox it leaves, and
whoever takes over looks. Single states are not counted: README.
"""

import structlog

from shared.contracts.versions import newer
from shared.runtime.ports import NewerRelease, RolledBack, StateStore

_log = structlog.get_logger("runtime")


def damage(seq: int | None, kept: str | None, timers: int, outbox: int) -> str | None:
    """What is gone, by `kept` (`<seq>|<timers>|<bytes of outbox>`). A note of another commit than the last says nothing: a step back
    by a release commits without one."""
    if seq is None or kept is None:
        return None
    at, had_timers, had_outbox = (int(part) for part in kept.split("|"))
    if at != seq:
        return None
    if timers != had_timers:
        return f"{timers} timers are there, {had_timers} were left"
    if outbox != had_outbox:
        return f"an outbox of {outbox} bytes is there, one of {had_outbox} was left"
    return None


async def open_slot(store: StateStore, token: str, stage: str, partition: int, reads: int = 1) -> tuple[dict[str, str], bytes]:
    """Take over; answer meta and outbox of a slot that is whole. One that is not has been forgotten first.

    A meta without a commit's number says that nothing is kept, or that somebody died while forgetting: what there is goes.
    Raises NewerRelease where a version above `reads` has written.
    """
    fields, outbox = await store.take_over(token)
    written = int(fields.get("v", "1"))
    if written > reads:
        raise NewerRelease(str(newer(f"slot {partition} of stage {stage}", written, reads)))
    gone = await store.damage()
    if "seq" in fields and gone is None:
        return fields, outbox
    if gone is not None:
        _log.error(
            "Redis lost a part of a slot: forgetting the rest, refolding from the log (RUNBOOK.md, Rebuild a view)",
            stage=stage,
            slot=partition,
            detail=gone,
        )
    await store.forget(token, int(fields.get("g", "0")))
    return await store.take_over(token)


async def still_held(store: StateStore, token: str | None, seq: int) -> None:
    """Raises RolledBack unless the store holds what commit `seq` of owner `token` left."""
    if token is None or await store.holds() != (token, seq):
        raise RolledBack("the store holds another commit than the last one")
    gone = await store.damage()
    if gone is not None:
        raise RolledBack(gone)


def log_loss(stage: str, partition: int, detail: str) -> None:
    """Tell whoever reads the log what happens to a slot whose store went back, and where to read on."""
    _log.error("Redis lost what was committed: refolding (RUNBOOK.md, Rebuild a view)", stage=stage, slot=partition, detail=detail)
