"""What the dashboard shows, row by row."""

from typing import Final

from deploy.grafana.deliveries import MACHINE, MESSAGES, QUERY, WAREHOUSE
from deploy.grafana.live_path import INGEST, STAGES, WELL

ROWS: Final = (WELL, INGEST, STAGES, MESSAGES, WAREHOUSE, QUERY, MACHINE)
