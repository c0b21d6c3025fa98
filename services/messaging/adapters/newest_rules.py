"""What definitions say of sending, always by the newest set: templates as approved last, consent as it is asked for now."""

from services.messaging.dispatch.decide import Rulebook
from services.messaging.domain.admission import Rules
from shared.adapters.applied_sets import AppliedSets
from shared.definitions.consent import ConsentPolicy
from shared.definitions.template import TemplateHead


class NewestRules:
    """Calling it answers the rules of now; `first` before a set was ever applied."""

    def __init__(self, sets: AppliedSets, first: Rulebook) -> None:
        self._sets = sets
        self._number, self._book = 0, first

    def __call__(self) -> Rulebook:
        """Raises DefinitionError if the newest set cannot be read by this release."""
        newest = self._sets.newest
        if newest is not None and newest.set.number != self._number:
            read = newest.read.needed(TemplateHead, ConsentPolicy)
            self._book = Rulebook(read.templates, Rules.of(read.single(ConsentPolicy)))
            self._number = newest.set.number
        return self._book
