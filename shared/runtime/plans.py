"""The plan that a stage makes of a set of definitions. It is made once a set and kept while a slot uses it.

A set takes effect for a slot at a record of definition.activated. From that record on the slot folds, wakes and sweeps by the plan of this
set. Sets never change, so a refold, a takeover and two workers use the same plan at the same record.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from shared.contracts.definitions import ACTIVATED_DECODER
from shared.contracts.slots import partition_count
from shared.runtime.ports import LogAway
from shared.runtime.stage import Record

D_co = TypeVar("D_co", covariant=True)

KEPT: Final = 8
"""Plans of so many sets are kept, and of two more a slot: all slots of a process may stand at different records."""
WAIT_S: Final = 5.0
LOOK_S: Final = 0.02
"""A set is in the log before the record at which it takes effect, so it is seldom waited for."""


class Sets(Protocol[D_co]):
    """The sets of definitions that were ever activated, as the log has them."""

    def at(self, activated_at: int) -> D_co | None:
        """The set that was activated at this instant, else the first later one; None if there is none."""

    def before(self, until: int) -> int:
        """The instant of the last set that was activated before `until`; 0 if none was."""

    @property
    def read_to_end(self) -> bool: ...


class Plans:
    """The plans of one stage. Raises LogAway while a set is not known."""

    def __init__(self, compile_: Callable[[Any], Any], sets: Sets[Any] | None) -> None:
        """`compile_`: Stage.compile. `sets` None: the stage goes by what it was made with."""
        self._compile = compile_
        self._sets = sets
        self._plans: OrderedDict[int, Any] = OrderedDict()

    def of(self, activated_at: int) -> Any:
        """The plan of a set, if it has been made."""
        if activated_at in self._plans:
            self._plans.move_to_end(activated_at)
            return self._plans[activated_at]
        if activated_at:
            raise LogAway(f"the set of definitions of {activated_at} has not been read yet")
        return self._keep(0, self._compile(None))

    async def make(self, activated_at: int) -> Any:
        """The plan of a set; waits a little until the log has been read so far."""
        if activated_at in self._plans or not activated_at:
            return self.of(activated_at)
        if self._sets is None:
            raise LogAway("this process does not follow the definitions")
        deadline = time.monotonic() + WAIT_S
        while not self._sets.read_to_end or (found := self._sets.at(activated_at)) is None:
            if time.monotonic() > deadline:
                raise LogAway(f"the set of definitions of {activated_at} is not in the log yet: apply the definitions again if it is lost")
            await asyncio.sleep(LOOK_S)
        return self._keep(activated_at, self._compile(found))

    async def ready(self, records: Sequence[Record]) -> None:
        """Make the plans that these records of definition.activated put in force. What cannot be read is left to whoever folds it."""
        for record in records:
            with contextlib.suppress(msgspec.DecodeError):
                await self.make(ACTIVATED_DECODER.decode(record.value or b"").activated_at)

    def before(self, until: int) -> int:
        return 0 if self._sets is None else self._sets.before(until)

    def _keep(self, activated_at: int, plan: Any) -> Any:
        self._plans[activated_at] = plan
        while len(self._plans) > KEPT + 2 * partition_count():
            self._plans.popitem(last=False)
        return plan
