"""Everything on one machine: real Kafka, Redis and ClickHouse as child processes, then Rapport's services."""
