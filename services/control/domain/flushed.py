"""What the status asks ClickHouse: when rows last came, and how many there are."""

from shared.reading.questions import Load, Question


def flushed() -> Question:
    """When rows last reached the tables, and how many events there are.

    The parts that inserts made tell it; minutes after the last one, when all are merged, it is the time of that merge.
    """
    return Question(
        "flushed",
        """
        SELECT toUnixTimestamp(if(inserted > 0, inserted, changed)) * 1000 AS flushed_ms, events FROM (
            SELECT maxIf(modification_time, level = 0) AS inserted, max(modification_time) AS changed,
                sumIf(rows, active AND table = 'events') AS events
            FROM system.parts WHERE database = 'rapport' AND table IN ('events', 'segment_transitions', 'messages', 'profiles')
        )
        """,
        {},
        Load.STATUS,
    )
