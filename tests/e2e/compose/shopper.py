"""A shop that knows nothing of Rapport: the unmodified Segment SDK, pointed at a host. `shopper.py HOST WRITE_KEY PREFIX PEOPLE PAUSE`.

Each person identifies, says yes to e-mail and orders five times within the last days, for 505 together. Ends with 0 when the SDK has handed
everything over, with 1 when it gave anything up.
"""

import logging
import sys
import time
from datetime import UTC, datetime, timedelta

from segment.analytics.client import Client

EVENTS_A_PERSON = 6
ORDERS = 5
REVENUE = 101


def shop(client: Client, person: str) -> None:
    """One person's six calls."""
    consent = {"consent": {"categoryPreferences": {"email": True}}}
    client.identify(person, {"email": f"{person}@example.com", "name": f"Name of {person}"}, context=consent)
    for number in range(ORDERS):
        at = datetime.now(UTC) - timedelta(days=10 * (ORDERS - number))
        client.track(person, "Order Completed", {"order_id": f"{person}-{number}", "revenue": REVENUE, "currency": "EUR"}, timestamp=at)


def main() -> int:
    """Exit code."""
    host, write_key, prefix, people, pause = sys.argv[1:]
    given_up: list[str] = []
    logging.getLogger("segment").setLevel(logging.CRITICAL)  # what it tries again is no news
    client = Client(
        write_key, host=host, upload_interval=0.2, max_retries=20, timeout=15, on_error=lambda error, items: given_up.append(str(error))
    )
    for number in range(int(people)):
        shop(client, f"{prefix}-{number}")
        time.sleep(float(pause))
    client.flush()
    client.join()
    if given_up:
        print(f"given up: {given_up[:3]}", file=sys.stderr)  # noqa: T201 the program's answer
    return 1 if given_up else 0


if __name__ == "__main__":
    sys.exit(main())
