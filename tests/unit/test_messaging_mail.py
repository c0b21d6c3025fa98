"""From a template and a person to an e-mail's bytes; breakers; the ledger in memory."""

import email
import email.policy
import time
from email.headerregistry import Address, UniqueAddressHeader, UniqueUnstructuredHeader

import msgspec
import pytest
from aiosmtplib import SMTPResponseException
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.adapters.smtp import _queue_id, _said
from services.messaging.channels.email import EmailHead
from services.messaging.domain.ledger import Ledger
from services.messaging.domain.mail import Sender, address_of, compose, masked
from services.messaging.domain.patience import Breaker, Patience
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered, one_line, render
from shared.contracts.changes import MessageStatus
from shared.contracts.ledger import LEDGER_DECODER, LEDGER_ENCODER, OPEN, LedgerEntry
from shared.definitions.liquid_text import parse_liquid
from shared.definitions.template import Template

NOW = 1_700_000_000_000
SENDER = Sender.parse('"The Shop" <shop@example.com>')
CPU = time.thread_time
TO = Address(username="ann", domain="example.com")


def template(text: str, *, subject: str = "Hi", html: str | None = None) -> Template:
    head = EmailHead.model_validate({"template": "t", "channel": "email", "class": "marketing", "locale": "en", "subject": subject})
    parsed = None if html is None else parse_liquid(html, "t.en.html.liquid", 1, html=True)
    body = parse_liquid(text, "t.en.liquid", 8, html=False)
    return Template("t.en.liquid", head, {"subject": parse_liquid(subject, "t.en.liquid", 6, html=False)}, body, parsed)


def raw(**traits: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in traits.items()}


def test_a_mail_more_leaves_nothing_behind() -> None:
    """The standard library makes a class for each header; classes are rubbish that stays for long where the collector runs seldom."""
    rendered = Rendered({"subject": "Hi"}, "text", "<p>html</p>")
    compose(rendered, SENDER, TO, "a1", NOW)
    before = len(UniqueUnstructuredHeader.__subclasses__()), len(UniqueAddressHeader.__subclasses__())
    for number in range(10):
        compose(rendered, SENDER, TO, f"b{number}", NOW)
    assert (len(UniqueUnstructuredHeader.__subclasses__()), len(UniqueAddressHeader.__subclasses__())) == before


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    made = render(template("{{ person.name }}", html="<p>{{ person.name }}</p>"), raw(name="<b>&"), None, NOW, CPU)
    assert made == Rendered({"subject": "Hi"}, "<b>&", "<p>&lt;b&gt;&amp;</p>")


@pytest.mark.parametrize("person", [raw(), raw(name=None)])
def test_a_missing_value_without_a_default_makes_no_message(person: dict[str, msgspec.Raw]) -> None:
    made = render(template("Dear {{ person.name }}"), person, None, NOW, CPU)
    assert isinstance(made, NotRendered)
    assert made.reason is Reason.MISSING_VALUE
    assert "person.name is undefined" in made.detail


@pytest.mark.parametrize("person", [raw(), raw(name=None), raw(name="")])
def test_a_default_or_a_question_makes_do_without_a_value(person: dict[str, msgspec.Raw]) -> None:
    text = "{{ person.name | default: 'you' }}{% if person.vip %}!{% endif %}{% unless person.vip %}.{% endunless %}"
    assert render(template(text), person, None, NOW, CPU) == Rendered({"subject": "Hi"}, "you.", None)


def test_amounts_stay_exact_and_now_is_the_moment_of_sending() -> None:
    text = "{{ person.total }} {{ segment }} {{ now | date: '%Y-%m-%d %H:%M' }}"
    made = render(template(text), {"total": msgspec.Raw(b"1234567.8900")}, "important", NOW, CPU)
    assert made == Rendered({"subject": "Hi"}, "1234567.8900 important 2023-11-14 22:13", None)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in (1..100000) %}x{% endfor %}",
        "{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}",
        "{% assign a = 'x' %}{% for i in (1..1900) %}{% assign a = a | append: a %}{% endfor %}",
        "{{ person.name | divided_by: 0 }}",
    ],
)
def test_a_template_that_runs_wild_makes_no_message(text: str) -> None:
    made = render(template(text), raw(name="Ann"), None, NOW, CPU)
    assert isinstance(made, NotRendered)
    assert made.reason is Reason.TEMPLATE_FAILED
    assert "Ann" not in made.detail


@given(st.text())
def test_no_trait_can_break_a_header(name: str) -> None:
    made = render(template("x", subject="Hi {{ person.name }}"), raw(name=name + "\r\nBcc: a@b.com"), None, NOW, CPU)
    assert isinstance(made, Rendered)
    message = email.message_from_bytes(compose(made, SENDER, TO, "0" * 32, NOW), policy=email.policy.default)
    assert message["Bcc"] is None
    assert message["To"] == "ann@example.com"
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip


@given(st.text())
def test_a_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert one_line(line) == line


ATOM = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-/=?^_`{|}~"
words = st.text(ATOM, min_size=1, max_size=12)
local_parts = st.lists(words, min_size=1, max_size=3).map(".".join)
hosts = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), min_size=1, max_size=3).map(".".join)


@given(local_parts, hosts)
def test_an_ordinary_address_counts_as_it_is_written(local_part: str, host: str) -> None:
    address = address_of(f"{local_part}@{host}")
    assert address is not None
    assert address.addr_spec == f"{local_part}@{host}"


@given(local_parts, hosts, st.sampled_from('<>\r\n ,;:"()[]\\\0\t\x7fé邮\u2028'), st.data())
def test_an_address_with_a_character_that_may_not_stand_in_a_command_is_none(
    local_part: str, host: str, evil: str, data: st.DataObject
) -> None:
    written = f"{local_part}@{host}"
    place = data.draw(st.integers(0, len(written)))
    assert address_of(written[:place] + evil + written[place:]) is None


@given(st.text(ATOM + ".@<>, \r\n;", max_size=40))
def test_what_counts_as_an_address_can_stand_in_a_command(text: str) -> None:
    address = address_of(text)
    if address is not None:
        assert address.addr_spec == text
        assert not set(text) & set("<>\r\n ,;")
        assert text.count("@") == 1


def test_the_same_message_has_the_same_bytes() -> None:
    rendered = Rendered({"subject": "Hi"}, "text", "<p>html</p>")
    assert compose(rendered, SENDER, TO, "1" * 32, NOW) == compose(rendered, SENDER, TO, "1" * 32, NOW)


@pytest.mark.parametrize("text", ["", "shop", "Shop <shop>", "a@b.com, c@d.com", "Shop <a@b.com", "a@b.com\nx", "<>"])
def test_a_wrong_sender_is_said_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="is no sender"):
        Sender.parse(text)


@pytest.mark.parametrize("said", [b"2.0.0 Ok: queued as \xff\xfe4Xy2", b"Ok: queued as ", b"\xff", "Ok: queued as 你 x".encode()])
def test_whatever_a_server_answers_can_be_written_down(said: bytes) -> None:
    """Bytes that are no text must not end the process after the mail is out. The client hands them on as it does in its protocol."""
    text = said.decode("utf-8", "surrogateescape")
    msgspec.json.encode(_queue_id(text))
    _said(SMTPResponseException(550, text)).encode()


def test_addresses_are_masked() -> None:
    assert masked("ann@example.com") == "a***@example.com"


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try() -> None:
    breaker = Breaker(Patience(provider_first=1, provider_longest=8, failures=3))
    for _ in range(2):
        breaker.failed(0)
    assert breaker.allow(0)
    breaker.went_well()
    for _ in range(10):  # the other seven were under way when it opened
        breaker.failed(0)
    waits = []
    now = 0.0
    for _ in range(5):
        waits.append(breaker.wait(now))
        assert not breaker.allow(now)
        now += breaker.wait(now)
        assert breaker.allow(now)
        assert not breaker.allow(now)
        breaker.failed(now)
    assert waits == [1, 2, 4, 8, 8]
    now += breaker.wait(now)
    assert breaker.allow(now)
    breaker.went_well()
    assert breaker.allow(now)
    assert not breaker.open


def test_a_try_that_is_never_heard_of_again_does_not_close_the_provider_for_ever() -> None:
    breaker = Breaker(Patience(provider_first=1, provider_longest=8, failures=1))
    breaker.failed(0)
    assert breaker.allow(1)
    assert not breaker.allow(8.9)
    assert breaker.allow(9)


def test_pauses_double_up_to_the_longest() -> None:
    assert [Patience(30, 900).after(n) for n in (1, 2, 3, 6, 60)] == [30, 60, 120, 900, 900]


entries = st.builds(
    LedgerEntry,
    dispatch_id=st.sampled_from(["00" * 16, "11" * 16, "22" * 16]),
    entry_id=st.just("e"),
    journey=st.just("j"),
    step=st.just("s"),
    profile_id=st.just("u:1"),
    channel=st.just("email"),
    template=st.just("t"),
    message_class=st.just("marketing"),
    status=st.sampled_from(MessageStatus),
    at=st.integers(0, 10),
    position=st.just(0),
)


@given(st.lists(entries))
def test_the_ledger_in_memory_is_the_last_entry_of_each_message_and_an_end_stays(found: list[LedgerEntry]) -> None:
    last = {entry.dispatch_id: LEDGER_DECODER.decode(LEDGER_ENCODER.encode(entry)) for entry in found}
    ended = {entry.dispatch_id for entry in found if entry.status not in OPEN}
    ledger = Ledger()
    for entry in found:
        ledger.apply(entry)
    for key, entry in last.items():
        assert ledger.is_settled(key) == (key in ended)
        assert ledger.of(key) == (None if key in ended else entry)
    sending = {key for key, entry in last.items() if entry.status is MessageStatus.SENDING} - ended
    assert {entry.dispatch_id for entry in ledger.in_sending()} == sending
