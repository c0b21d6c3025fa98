"""What each table, view and dictionary of the warehouse holds of people. A new one must stand here; tests look."""

from typing import Final

from shared.contracts.personal import Kept, Personal

TABLES: Final = (
    Kept("events", Personal.CLEAR, "every event as it came"),
    Kept("merges", Personal.IDS, "which profile went up in which"),
    Kept("segment_transitions", Personal.IDS, "who entered or left which segment, and when"),
    Kept("messages", Personal.CLEAR, "states of messages; a masked address with those that were sent"),
    Kept("profiles", Personal.CLEAR, "the latest summary of each profile, with traits"),
    Kept("identity_conflicts", Personal.IDS, "pairs of users that something calls one"),
    Kept("canonical_ids", Personal.IDS, "view of merges: the root of each chain"),
    Kept("canonical", Personal.IDS, "dictionary of the same"),
    Kept("migrations", Personal.NONE, "names and hashes of the migrations applied"),
)
