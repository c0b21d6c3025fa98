"""The engine's own configuration files: memory, caches, users, grants."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

MEGABYTE: Final = 1_000_000
MERGE_NICE: Final = 10
"""Merges can wait: on a machine that everything shares, rows come in and questions are answered first."""

# No grant reaches out of the database (FILE, URL, REMOTE, S3 …), makes users, or stops the process (SYSTEM SHUTDOWN).
GRANTS: Final = (
    "GRANT SHOW TABLES, SHOW COLUMNS, SHOW DATABASES, SHOW DICTIONARIES, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, "
    "CREATE VIEW, CREATE DICTIONARY, CREATE FUNCTION, CREATE TEMPORARY TABLE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, "
    "KILL QUERY, dictGet, SYSTEM RELOAD DICTIONARY, SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM MOVES, SYSTEM DROP CACHE, "
    "SYSTEM FLUSH LOGS, SYSTEM VIEWS ON *.*",
    "GRANT TABLE ENGINE ON *",
)


@dataclass(frozen=True)
class Limits:
    """What the engine may use. Bytes, threads, and how many statements may run at once."""

    server_memory: int = 1_500 * MEGABYTE
    query_memory: int = 700 * MEGABYTE
    threads: int = 2
    statements: int = 24


def write(folder: Path, limits: Limits, writer: str) -> Path:
    """Write config.xml and users.xml into `folder`; returns the path of config.xml.

    `writer` is the name under which dictionaries may read tables; passwords are asked at the door (users.py), not in the engine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.xml"
    users.write_text(_users(limits, writer))
    config = folder / "config.xml"
    config.write_text(_server(users, limits))
    return config


def _server(users: Path, limits: Limits) -> str:
    return f"""<clickhouse>
    <users_config>{escape(str(users))}</users_config>
    <max_server_memory_usage>{limits.server_memory}</max_server_memory_usage>
    <mark_cache_size>{32 * MEGABYTE}</mark_cache_size>
    <index_mark_cache_size>{4 * MEGABYTE}</index_mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <compiled_expression_cache_size>{16 * MEGABYTE}</compiled_expression_cache_size>
    <query_cache><max_size_in_bytes>{16 * MEGABYTE}</max_size_in_bytes></query_cache>
    <background_pool_size>{limits.threads}</background_pool_size>
    <background_schedule_pool_size>{limits.threads}</background_schedule_pool_size>
    <os_threads_nice_value_merge_mutate>{MERGE_NICE}</os_threads_nice_value_merge_mutate>
    <max_thread_pool_size>500</max_thread_pool_size>
    <max_thread_pool_free_size>16</max_thread_pool_free_size>
    <merge_tree><max_bytes_to_merge_at_max_space_in_pool>{10_000 * MEGABYTE}</max_bytes_to_merge_at_max_space_in_pool></merge_tree>
</clickhouse>
"""


def _users(limits: Limits, writer: str) -> str:
    # Formatting on several threads was slower (3.9 s against 2.6 s for 480 MB of NDJSON on two cores) and took 200 MB more.
    return f"""<clickhouse>
    <profiles><default>
        <implicit_select>0</implicit_select>
        <output_format_parallel_formatting>0</output_format_parallel_formatting>
        <allow_introspection_functions>0</allow_introspection_functions>
        <max_threads>{limits.threads}</max_threads>
        <max_memory_usage>{limits.query_memory}</max_memory_usage>
        <max_bytes_before_external_group_by>{limits.query_memory // 2}</max_bytes_before_external_group_by>
        <max_bytes_before_external_sort>{limits.query_memory // 2}</max_bytes_before_external_sort>
    </default></profiles>
    <quotas><default/></quotas>
    <users>{"".join(_user(name) for name in sorted({"default", writer}))}</users>
</clickhouse>
"""


def _user(name: str) -> str:
    grants = "".join(f"<query>{escape(grant)}</query>" for grant in GRANTS)
    return f"""
        <{name}>
            <no_password/>
            <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
        </{name}>"""
