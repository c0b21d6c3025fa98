"""Warehouse: every record of five topics into ClickHouse, exactly once. `python -m services.warehouse.main`; see settings.py."""

import asyncio
import logging
import signal
import sys

import structlog

from services.warehouse.adapters.consumer import LogConsumer
from services.warehouse.adapters.notes import ClickHouseNotes
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.block import Limits
from services.warehouse.domain.rows import TOPICS
from services.warehouse.keeping import Keeper
from services.warehouse.loader import Loader
from services.warehouse.metrics import METRICS, WarehouseMetrics
from services.warehouse.settings import Settings
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.environment import read_environment
from shared.adapters.health import HealthServer
from shared.adapters.kafka_pulse import KafkaPulse, silence
from shared.adapters.prometheus import Registry
from shared.adapters.rebuild_topic import RebuildTopic
from shared.contracts.rebuilds import View
from shared.runtime.logs import configure_logs

_log = structlog.get_logger("warehouse")


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises what the loader cannot go on after."""
    registry = Registry("warehouse", METRICS)
    metrics = WarehouseMetrics(registry)
    store = ClickHouse(settings.clickhouse)
    orders = RebuildTopic(settings.kafka, "rapport-warehouse-rebuilds")
    loader = Loader(
        ClickHouseTables(store),
        metrics,
        Limits(settings.warehouse_block_records, settings.warehouse_block_bytes),
        settings.warehouse_flush_seconds,
        settings.warehouse_inserts_per_second,
        Keeper(ClickHouseNotes(store), lambda: orders.ordered(View.WAREHOUSE)),
    )
    group = f"{settings.group_prefix}-warehouse"
    log = LogConsumer(settings.kafka, group, TOPICS, settings.session_timeout_seconds, loader.rebalance())

    pulse = KafkaPulse(settings.kafka.admin({"log_level": 2}), TOPICS[0])

    def readiness() -> dict[str, str | None]:
        silent = silence(pulse.silent_s())
        return {
            "kafka": silent if loader.joined else "not yet a member of its consumer group",
            "clickhouse": metrics.reason or store.silence() or metrics.gap,
        }

    health = HealthServer(settings.host, settings.health_port, readiness, registry.collectors)
    await health.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, loader.stop)
    _log.info("started", group=group)
    asking = asyncio.create_task(pulse.run(), name="pulse")
    try:
        orders.start()
        await asyncio.to_thread(loader.run, log)
    finally:
        asking.cancel()
        await asyncio.to_thread(orders.stop)
        await asyncio.to_thread(log.close)
        store.close()
        await health.stop()
    _log.info("stopped")


def main() -> int:
    """Until SIGTERM or SIGINT; answers the exit code. 2: a setting cannot be used."""
    settings = read_environment("warehouse", Settings)
    configure_logs(settings.log_level, "warehouse")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each insert
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
