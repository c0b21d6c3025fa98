"""ClickHouse's HTTP interface over chDB, the engine in this process: one process, one data folder, one port."""
