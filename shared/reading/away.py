"""Why a store has no answer now: one exception a store, the same in every process that answers HTTP."""


class LiveAway(Exception):
    """Redis does not answer."""


class HistoryAway(Exception):
    """ClickHouse does not answer, or is not set up yet."""


class HistoryLost(HistoryAway):
    """ClickHouse lacks rows that were written to it, so an answer could be short. The text says what is missing and what to do."""


class HistoryTooMuch(Exception):
    """ClickHouse gave up: the question needs more time, rows or memory than one question may have."""


class LogAway(Exception):
    """Kafka does not answer."""


class Busy(Exception):
    """The threads for one kind of question to a store are taken, and so are the places to wait for one; or a key's half of them is."""

    def __init__(self, pool: str, store: str) -> None:
        super().__init__(f"{pool}: {store}")
        self.pool, self.store = pool, store
