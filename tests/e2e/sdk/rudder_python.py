"""Sends with rudder-sdk-python: URL, write key, what (`each` kind of call once, or a number of tracks)."""

import json
import pathlib
import sys

from rudderstack.analytics.client import Client

url, write_key, what = sys.argv[1:4]
calls = json.loads(pathlib.Path(__file__).with_name("calls.json").read_text())
user = calls["userId"]
client = Client(
    write_key,
    host=url,
    on_error=lambda error, batch: sys.stderr.write(f"{error}\n"),
    **({} if what == "each" else {"upload_size": 5}),
)
if what == "each":
    client.identify(user, traits=calls["traits"])
    client.track(user, calls["event"], properties=calls["properties"])
    client.page(user, None, calls["page"], properties=calls["pageProperties"])
    client.screen(user, None, calls["screen"], properties=calls["screenProperties"])
    client.group(user, calls["groupId"], traits=calls["groupTraits"])
    client.alias(calls["previousId"], user)
else:
    for n in range(int(what)):
        client.track(user, "Burst", properties={"n": n})
client.shutdown()
