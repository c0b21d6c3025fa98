"""Parameters that come in a multipart/form-data body, where a client's are too long for the URL."""

from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from deploy.local.clickhouse_server import errors
from deploy.local.clickhouse_server.bodies import Body

FORM_BYTES = 16 * 1024 * 1024


def is_form(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is such a form."""
    return headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")


async def read(headers: Mapping[bytes, bytes], body: Body) -> dict[str, str]:
    """The form's fields. Raises ClickHouseError for files in it (external tables) and for what is no form."""
    raw = await body.read(FORM_BYTES)
    if not body.ended:
        raise errors.refused(errors.QUERY_IS_TOO_LARGE, f"The form is longer than {FORM_BYTES} bytes.")
    form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + headers[b"content-type"] + b"\r\n\r\n" + raw)
    if not form.is_multipart():
        raise errors.refused(errors.BAD_ARGUMENTS, "The body is not the form that its Content-Type promises.")
    fields: dict[str, str] = {}
    for part in form.get_payload():
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        if not isinstance(part, Message) or not isinstance(name, str):
            raise errors.refused(errors.BAD_ARGUMENTS, "A part of the form has no name.")
        if part.get_filename() is not None:
            raise errors.refused(errors.NOT_IMPLEMENTED, "External tables are not offered.")
        value = part.get_payload(decode=True)
        fields[name] = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""
    return fields
