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
    Kept("merges_by_winner", Personal.IDS, "the same by who they became"),
    Kept("merges_to_merges_by_winner", Personal.IDS, "view that fills it"),
    Kept("merges_by_loser", Personal.IDS, "the same by who they were"),
    Kept("merges_to_merges_by_loser", Personal.IDS, "view that fills it"),
    Kept("merges_by_append", Personal.IDS, "the same by when the log took it"),
    Kept("merges_to_merges_by_append", Personal.IDS, "view that fills it"),
    Kept("message_latest", Personal.CLEAR, "the last state of each message; a masked address with those that were sent"),
    Kept("messages_to_message_latest", Personal.CLEAR, "view that fills it"),
    Kept("message_times", Personal.IDS, "the instant of each state of each message"),
    Kept("messages_to_message_times", Personal.IDS, "view that fills it"),
    Kept("message_people", Personal.IDS, "whom each message was for"),
    Kept("messages_to_message_people", Personal.IDS, "view that fills it"),
    Kept("canonical_ids", Personal.IDS, "view of merges: the root of each chain"),
    Kept("canonical", Personal.IDS, "dictionary of the same"),
    Kept("progress", Personal.NONE, "offsets up to which rows are in"),
    Kept("kept", Personal.NONE, "numbers of the oldest blocks of tables"),
    Kept("migrations", Personal.NONE, "names and hashes of the migrations applied"),
)
