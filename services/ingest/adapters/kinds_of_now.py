"""Which kinds of external id identify, always by the newest set of definitions."""

from shared.adapters.applied_sets import AppliedSets
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.identity import Identity


class KindsOfNow:
    """Calling it answers the kinds, strongest first; `first` before a set was ever applied."""

    def __init__(self, sets: AppliedSets, first: tuple[str, ...]) -> None:
        self._sets = sets
        self._number, self._kinds = 0, first

    def __call__(self) -> tuple[str, ...]:
        """Raises DefinitionError if this release cannot read the newest set."""
        number = self._sets.number
        if number != self._number and (newest := self._sets.newest) is not None:
            said = newest.read.needed(Identity).single(Identity)
            self._kinds = said.kinds if said else DEFAULT_EXTERNAL_KINDS
            self._number = newest.set.number
        return self._kinds
