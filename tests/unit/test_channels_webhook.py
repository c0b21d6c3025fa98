"""Webhooks as values: what is sent, how it is signed, what each answer means, which addresses may be called, what a setting may say."""

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.adapters.outbound import Answer, NoAnswer, NotWritten, TooLate, checked_url, is_public
from services.messaging.channels.endpoints import MOST_ENDPOINTS, read_endpoints
from services.messaging.channels.registry import CHANNELS
from services.messaging.channels.socket import Composed, Draft
from services.messaging.channels.webhook import Hook, WebhookHead, compose, outcome_of, retry_after, signature, signing_key
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered, render
from shared.contracts.consent import consents
from shared.definitions.liquid_text import parse_liquid
from shared.definitions.template import Template
from shared.definitions.yaml_text import DefinitionError
from tests.unit.dispatcher_world import NOW, request

KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def head(**said: Any) -> WebhookHead:
    base = {"template": "t", "channel": "webhook", "class": "transactional", "locale": "en", "to": "crm"}
    return WebhookHead.model_validate(base | said)


def written(text: str, person: dict[str, Any], **fields: str) -> dict[str, Any]:
    """The body as a receiver reads it, of a template with this text and these fields."""
    known = head(fields=fields, type="customer.important")
    compiled = {name: parse_liquid(source, "t.en.liquid", 1, html=False) for name, source in known.liquid().items()}
    template = Template("t.en.liquid", known, compiled, parse_liquid(text, "t.en.liquid", 9, html=False), None)
    traits = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in person.items()}
    rendered = render(template, traits, "important", NOW, lambda: 0.0)
    assert isinstance(rendered, Rendered)
    asked = request(7, channel="webhook", endpoint="crm", template="t", segment="important")
    made = compose(Draft(asked, known, rendered, None, NOW))
    assert isinstance(made, Composed)
    assert made.to_masked == "crm"
    body: dict[str, Any] = json.loads(made.message.body)
    return body


def test_the_body_has_a_fixed_shape_and_values_of_the_template() -> None:
    body = written("Hello {{ person.name }}\n", {"name": "Ann", "plan": "gold"}, plan="{{ person.plan }}")
    assert body == {
        "type": "customer.important",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {
            "profile_id": "u:7",
            "journey": "keep",
            "step": "steps[0]",
            "segment": "important",
            "template": "t",
            "message": "Hello Ann",
            "fields": {"plan": "gold"},
        },
    }


@given(st.text(max_size=100))
def test_no_value_of_a_person_breaks_out_of_its_place(value: str) -> None:
    value = value.replace("\r\n", "\n").replace("\r", "\n")  # as Liquid writes them
    body = written('"{{ person.name }}"}', {"name": value}, name="{{ person.name }}")
    assert set(body) == {"type", "timestamp", "data"}
    assert body["data"]["fields"] == {"name": value}
    assert body["data"]["message"] == f'"{value}"}}'.strip()


def test_a_body_that_is_too_large_is_not_sent() -> None:
    rendered = Rendered({}, "\x00" * 150_000, None)
    made = compose(Draft(request(1), head(), rendered, None, NOW))
    assert isinstance(made, NotRendered)
    assert made.reason is Reason.TEMPLATE_FAILED


@given(st.text(alphabet="0123456789abcdef", min_size=32, max_size=32), st.integers(1, 2**33), st.binary(max_size=200))
def test_the_signature_is_that_of_standard_webhooks(message_id: str, timestamp: int, body: bytes) -> None:
    """Computed anew by another library."""
    signer = HMAC(bytes(range(32)), hashes.SHA256())
    signer.update(message_id.encode() + b"." + str(timestamp).encode() + b"." + body)
    expected = "v1," + base64.b64encode(signer.finalize()).decode()
    assert signature((signing_key(KEY),), message_id, timestamp, body) == expected
    two = signature((signing_key(KEY), b"k" * 24), message_id, timestamp, body).split(" ")
    assert two[0] == expected
    assert len(two) == 2


def test_the_example_of_the_standard() -> None:
    """From the specification's own test vectors."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signature((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


ROWS: list[tuple[int, dict[str, str], Outcome]] = [
    (200, {}, Sent()),
    (202, {}, Sent()),
    (204, {}, Sent()),
    (301, {"location": "http://169.254.169.254/"}, Deferred(Reason.PROVIDER_AWAY, "HTTP 301: redirects are not followed", away=True)),
    (307, {}, Deferred(Reason.PROVIDER_AWAY, "HTTP 307: redirects are not followed", away=True)),
    (400, {}, Failed(Reason.REFUSED, "HTTP 400")),
    (401, {}, Failed(Reason.REFUSED, "HTTP 401")),
    (404, {}, Failed(Reason.REFUSED, "HTTP 404")),
    (408, {}, Deferred(Reason.TRY_LATER, "HTTP 408")),
    (410, {}, Failed(Reason.ENDPOINT_GONE, "HTTP 410")),
    (413, {}, Failed(Reason.REFUSED, "HTTP 413")),
    (425, {}, Deferred(Reason.TRY_LATER, "HTTP 425")),
    (429, {"retry-after": "7"}, Deferred(Reason.TRY_LATER, "HTTP 429", after_s=7.0)),
    (429, {}, Deferred(Reason.TRY_LATER, "HTTP 429")),
    (500, {}, Unknown(Reason.REPLY_LOST, "HTTP 500")),
    (502, {}, Unknown(Reason.REPLY_LOST, "HTTP 502")),
    (503, {"retry-after": "120"}, Deferred(Reason.TRY_LATER, "HTTP 503", after_s=120.0)),
    (504, {}, Unknown(Reason.REPLY_LOST, "HTTP 504")),
    (599, {}, Unknown(Reason.REPLY_LOST, "HTTP 599")),
    (999, {}, Unknown(Reason.REPLY_LOST, "HTTP 999")),
]


@pytest.mark.parametrize(("status", "headers", "outcome"), ROWS, ids=lambda value: str(value) if isinstance(value, int) else "")
def test_each_answer_has_its_outcome(status: int, headers: dict[str, str], outcome: Outcome) -> None:
    assert outcome_of(Answer(status, headers, b""), 0.0) == outcome


def test_a_call_without_an_answer_has_its_outcome() -> None:
    assert outcome_of(TooLate(), 0.0) == Deferred(Reason.HELD_UP, "it took too long until the endpoint could be called")
    assert outcome_of(NotWritten("ConnectError"), 0.0) == Deferred(Reason.PROVIDER_AWAY, "ConnectError", away=True)
    assert outcome_of(NoAnswer("ReadTimeout"), 0.0) == Unknown(Reason.REPLY_LOST, "ReadTimeout")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("30", 30),
        ("-5", 0),
        ("1e9", 0),
        ("99999999", 3600),
        (format_datetime(datetime.fromtimestamp(1_000_090, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(999_000, UTC), usegmt=True), 0),
        ("soon", 0),
        ("٣", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(value: str | None, seconds: float) -> None:
    assert retry_after(value, 1_000_000.0) == seconds


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("198.18.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.1.2.3", False),
        ("::ffff:8.8.8.8", True),
        ("::7f00:1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("2002:a00:1::1", False),
    ],
)
def test_only_public_addresses_may_be_called(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "private", "good"),
    [
        ("https://example.com/hook?x=1", False, True),
        ("http://example.com/hook", False, False),
        ("http://10.0.0.1/hook", True, True),
        ("https://user:pw@example.com/", False, False),
        ("https://example.com/#x", False, False),
        ("ftp://example.com/", True, False),
        ("https:///hook", False, False),
        ("https://example.com:99999/", False, False),
        ("https://example.com/\r\nHost: x", False, False),
        ("https://exämple.com/", False, False),
    ],
)
def test_which_urls_may_be_set(url: str, private: bool, good: bool) -> None:
    if good:
        assert checked_url(url, private=private) == url
        return
    with pytest.raises(ValueError, match="expected") as refused:
        checked_url(url, private=private)
    assert "pw" not in str(refused.value)


def load(folder: Path, text: str, secret: str = KEY) -> Any:
    (folder / "crm.secret").write_text(secret + "\n")
    (folder / "channels.yaml").write_text(text)
    return read_endpoints(folder / "channels.yaml", CHANNELS)


def test_an_endpoint_is_set_by_a_file_that_names_the_file_of_its_secret(tmp_path: Path) -> None:
    found = load(tmp_path, "webhook:\n  crm:\n    url: https://example.com/hook\n    secret_file: crm.secret\n    per_minute: 120\n")
    receiver = found["webhook"]["crm"]
    assert (receiver.target.url, receiver.per_second, receiver.keys) == ("https://example.com/hook", 2.0, (bytes(range(32)),))
    assert "hook" not in repr(receiver)
    assert repr(bytes(range(32))) not in repr(receiver)


GOOD = "webhook:\n  crm: {url: 'https://example.com/', secret_file: crm.secret}\n"


@pytest.mark.parametrize(
    ("change", "secret", "said"),
    [
        (("webhook:", "webhok:"), KEY, "channels.yaml:1: webhok: unknown key 'webhok' (did you mean 'webhook'?)"),
        (("webhook:", "email:"), KEY, "channels.yaml:1: email: unknown key 'email'"),
        (("url: 'https://example.com/', ", ""), KEY, "channels.yaml:2: webhook.crm.url: is missing"),
        (("https:", "http:"), KEY, "channels.yaml:2: webhook.crm: url: expected https"),
        (("crm.secret", "crm.secret, secret: x"), KEY, "channels.yaml:2: webhook.crm.secret: unknown key 'secret'"),
        (
            ("crm.secret", "crm.secret, ca_file: none.pem"),
            KEY,
            "channels.yaml:2: webhook.crm: ca_file names none.pem, which is no PEM file",
        ),
        (("crm.secret", "crm.secret, ca_file: crm.secret"), KEY, "channels.yaml:2: webhook.crm: ca_file names crm.secret, which is no PEM"),
        (("crm.secret", "none"), KEY, "channels.yaml:2: webhook.crm: secret_file names none, which cannot be read"),
        (("a", "a"), "whsec_c2hvcnQ=", "channels.yaml:2: webhook.crm: secret_file must hold a key such as whsec_"),
        (("a", "a"), "pa55word", "channels.yaml:2: webhook.crm: secret_file must hold a key such as whsec_"),
        (("crm:", "C R M:"), KEY, "channels.yaml:2: webhook.C R M"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said_by_line_and_without_its_secret(
    tmp_path: Path, change: tuple[str, str], secret: str, said: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        load(tmp_path, GOOD.replace(*change), secret)
    assert str(refused.value).startswith(said)
    assert secret not in str(refused.value)


def test_endpoints_are_bounded(tmp_path: Path) -> None:
    lines = "".join(f"  e{n}: {{url: 'https://example.com/', secret_file: crm.secret}}\n" for n in range(MOST_ENDPOINTS + 1))
    with pytest.raises(DefinitionError, match=f"at most {MOST_ENDPOINTS} endpoints"):
        load(tmp_path, "webhook:\n" + lines)


def test_a_repeat_is_the_same_request() -> None:
    draft = Draft(request(1, channel="webhook", endpoint="crm"), head(), Rendered({}, "x", None), None, NOW)
    one, other = compose(draft), compose(draft)
    assert isinstance(one, Composed)
    assert one == other
    assert isinstance(one.message, Hook)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({"webhook": True, "marketing": False}, {"webhook": True, "email": False, "sms": False, "push": False, "wecom": False}),
        ({"wecom_group": False, "functional": True}, {"wecom_group": False}),
        ({"webhook": "yes"}, {}),
    ],
)
def test_consent_to_be_passed_on_is_to_be_named(said: dict[str, Any], heard: dict[str, bool]) -> None:
    context = json.dumps({"consent": {"categoryPreferences": said}}).encode()
    assert consents(msgspec.json.encode(json.loads(context)), None) == heard
