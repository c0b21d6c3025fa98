-- Who somebody became. A chain of merges (a into b, b into c) ends at its root; a profile that was never merged is not in here.

CREATE VIEW rapport.canonical_ids AS
WITH RECURSIVE chain AS
(
    SELECT loser, winner, 1 AS steps FROM rapport.merges
    UNION ALL
    SELECT chain.loser AS loser, further.winner AS winner, chain.steps + 1 AS steps
    FROM chain INNER JOIN rapport.merges AS further ON further.loser = chain.winner
    WHERE chain.steps < 100
)
SELECT loser, argMax(winner, steps) AS canonical FROM chain GROUP BY loser;

-- dictGetOrDefault('rapport.canonical', 'canonical', profile_id, profile_id). Reloaded within seconds of a merge, and only then.
CREATE DICTIONARY rapport.canonical (loser String, canonical String)
PRIMARY KEY loser
SOURCE(CLICKHOUSE(
    USER {user} PASSWORD {password} DB 'rapport' TABLE 'canonical_ids'
    INVALIDATE_QUERY 'SELECT count(), max(_appended_at) FROM rapport.merges'
))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 1 MAX 3);
