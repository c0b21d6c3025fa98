"""What each folder and file of an installation holds of people: under RAPPORT_HOME (.rapport), and as volumes of docker-compose.yml."""

from typing import Final

from shared.contracts.personal import Kept, Personal

FOLDERS: Final = (
    Kept("data/kafka", Personal.CLEAR, "the log: all topics; data topics for RAPPORT_RETENTION_DAYS and a day"),
    Kept("data/redis", Personal.CLEAR, "the live view; its append-only file keeps what was deleted until it is rewritten"),
    Kept("data/clickhouse", Personal.CLEAR, "the history"),
    Kept("data/prometheus", Personal.NONE, "figures; no label is an id of a person"),
    Kept("logs", Personal.IDS, "what the parts say: no value of a person; an id where an operator must find somebody"),
    Kept("mail", Personal.CLEAR, "what the local mail catcher received, whole"),
    Kept("hooks", Personal.CLEAR, "what the local hook catcher received, whole: webhooks and notices to a robot"),
    Kept("channels", Personal.NONE, "endpoints of webhooks and robots on this machine, and their secrets"),
    Kept("env", Personal.NONE, "keys and addresses of the installation"),
    Kept("key_secret", Personal.NONE, "what signs the keys of the installation"),
    Kept("parts.json", Personal.NONE, "the running parts"),
    Kept("lock", Personal.NONE, "the process that runs"),
    Kept("demo.json", Personal.NONE, "how far the demo has come"),
    Kept("bench.json", Personal.NONE, "figures of the last measurement"),
)

VOLUMES: Final = (
    Kept("kafka", Personal.CLEAR, "as data/kafka"),
    Kept("redis", Personal.CLEAR, "as data/redis"),
    Kept("clickhouse", Personal.CLEAR, "as data/clickhouse"),
    Kept("mail", Personal.CLEAR, "as mail"),
    Kept("hooks", Personal.CLEAR, "as hooks"),
    Kept("prometheus", Personal.NONE, "as data/prometheus"),
    Kept("grafana", Personal.NONE, "dashboards and who may see them"),
)
