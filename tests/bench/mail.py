"""How the dispatcher copes with a mail server of a given pace. `python -m tests.bench.mail --mails 5000 --seconds 0.2`

A campaign waits; a transactional message is asked for every few seconds meanwhile. Printed: how fast mail goes out, ledger records a mail,
how long a transactional message took from the request to the mail server.
"""

import argparse
import tempfile
import time
from pathlib import Path

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.redis import Redis
from shared.contracts.changes import MessageRequested
from shared.contracts.slots import settle
from shared.contracts.topics import MESSAGE_CHANGED
from tests.integration.messaging_installation import Installation, request
from tests.integration.slow_post import SlowPost
from tests.waiting import wait_until

EVERY_S = 2.0
PARTITIONS = 8


def run(folder: Path, mails: int, seconds: float, connections: int, greylisted: int) -> None:
    """One campaign from the first request to the last mail."""
    with (
        Kafka(folder / "kafka", free_port(), folder / "kafka.log") as kafka,
        Redis(folder / "redis", free_port(), folder / "redis.log") as store,
        SlowPost(seconds, lambda address: address.startswith("grey-")) as post,
    ):
        assert store.check is not None
        house = Installation(kafka.bootstrap, store.check, folder)
        house.upstream_is_caught_up()
        campaign = [request("campaign", number) for number in range(mails)]
        house.ask([request("grey", number) for number in range(greylisted)])
        house.ask(campaign)
        urgent: list[MessageRequested] = []
        asked: dict[str, float] = {}
        usual = {"dispatch_lease_seconds": "5", "session_timeout_seconds": "10", "retry_first_seconds": "30"}
        with house.process(smtp_url=post.url, smtp_connections=str(connections), **usual):
            wait_until("the first mail comes", lambda: len(post.taken) > 0)
            began = time.monotonic()
            wanted = {one.dispatch_id for one in campaign}
            while not wanted <= post.times().keys():
                one = request("urgent", len(urgent), message_class="transactional")
                urgent.append(one)
                asked[one.dispatch_id] = time.monotonic()
                house.ask([one])
                time.sleep(EVERY_S if mails * seconds > 10 else 0.2)
            took = max(at for key, at in post.times().items() if key in wanted) - began
            wait_until("the last end is recorded", lambda: house.settled([*campaign, *urgent]))
            times = post.times()
        delays = sorted(times[key] - at for key, at in asked.items())
        records = house.records()
        counts = sorted(records[one.dispatch_id] for one in campaign)
        told = len(house.read(MESSAGE_CHANGED))
        house.close()
    print(  # noqa: T201 - the figures
        f"mails={mails} seconds_a_mail={seconds:g} connections={connections} greylisted={greylisted} at_once={post.most_at_once}\n"
        f"  {mails / took:.1f} mails/s over {took:.1f} s; ledger records a mail: mean {sum(counts) / mails:.2f}, most {counts[-1]};"
        f" message.changed in all {told}\n"
        f"  transactional ({len(delays)}): p50 {delays[len(delays) // 2]:.2f} s, most {delays[-1]:.2f} s;"
        f" greylisted tries {sum(post.put_off.values())}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=0.2, help="how long the mail server thinks about each")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--greylisted", type=int, default=0, help="so many more are put off by the mail server each time")
    asked = parser.parse_args()
    settle(PARTITIONS)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), asked.mails, asked.seconds, asked.connections, asked.greylisted)


if __name__ == "__main__":
    main()
