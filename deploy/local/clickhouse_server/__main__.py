"""`python -m deploy.local.clickhouse_server --data DIR --port N`."""

from deploy.local.clickhouse_server.main import main

main()
