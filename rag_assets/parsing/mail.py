"""Mails: eml and Outlook's msg, with what is attached to them."""

import io
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from typing import Any

from rag_assets.parsing.base import Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.html import html_text, html_tree
from rag_assets.parsing.markup import render_into
from rag_assets.parsing.members import described, write_members

_HEADERS = ("From", "To", "Cc", "Date")


def parse_mail(data: bytes, name: str) -> Parsed:
    """Subject, headers, body and attachments of a mail."""
    message = BytesParser(policy=policy.default).parsebytes(data)
    assert isinstance(message, EmailMessage)
    builder = TextBuilder()
    subject = _header(message, "Subject")
    headers = {header: _header(message, header) for header in _HEADERS}
    _write_head(builder, subject, headers)
    body = message.get_body(("plain", "html"))
    if body is not None:
        _write_body(builder, body)
    left_out = write_members(builder, _attachments(message))
    metadata: dict[str, Scalar] = {key.lower(): value for key, value in headers.items()}
    metadata["left_out"] = described(left_out)
    metadata["author"] = metadata.pop("from")
    return builder.parsed("message/rfc822", subject, metadata)


def _header(message: EmailMessage, name: str) -> str | None:
    """A decoded header; broken ones raise all kinds of errors in the standard library."""
    try:
        value = message.get(name)
    except (ValueError, IndexError, AttributeError, TypeError):
        return None
    return None if value is None else " ".join(str(value).split())


def _write_head(builder: TextBuilder, subject: str | None, headers: dict[str, str | None]) -> None:
    builder.heading(1, subject or "")
    builder.block("\n".join(f"{key}: {value}" for key, value in headers.items() if value))


def _write_body(builder: TextBuilder, part: MIMEPart) -> None:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if part.get_content_subtype() == "html":
        render_into(builder, html_tree(html_text(data)))
        return
    try:
        text = data.decode(part.get_content_charset() or "utf-8", errors="replace")
    except LookupError:
        text = data.decode("latin-1")
    builder.block(text)


def _attachments(message: EmailMessage) -> Iterator[tuple[str, bytes]]:
    for number, part in enumerate(message.iter_attachments(), start=1):
        if part.get_content_maintype() == "image" and part.get("Content-ID"):
            continue  # a picture within the body
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield part.get_filename() or f"attachment-{number}", payload
        elif part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0)
            yield f"forwarded-{number}.eml", inner.as_bytes()  # type: ignore[union-attr]


def parse_outlook(data: bytes, name: str) -> Parsed:
    """A mail that Outlook saved."""
    from oxmsg import Message

    try:
        message = Message.load(io.BytesIO(data))
        sent = message.sent_date
        subject = clean_title(message.subject)
    except (KeyError, ValueError, OSError, IndexError) as error:
        raise Unparseable("damaged", f"it is not readable as an Outlook mail: {error}") from error
    to = ", ".join(_recipient(recipient) for recipient in message.recipients)
    headers = {"From": message.sender, "To": to, "Date": sent.isoformat() if sent else None}
    builder = TextBuilder()
    _write_head(builder, subject, headers)
    if message.body:
        builder.block(message.body)
    elif message.html_body:
        render_into(builder, html_tree(message.html_body))
    attached = [
        (attachment.file_name or f"attachment-{number}", attachment.file_bytes or b"")
        for number, attachment in enumerate(message.attachments, start=1)
    ]
    left_out = described(write_members(builder, attached))
    metadata: dict[str, Scalar] = {
        "author": message.sender,
        "to": to,
        "date": headers["Date"],
        "left_out": left_out,
    }
    return builder.parsed("application/vnd.ms-outlook", subject, metadata)


def _recipient(recipient: Any) -> str:
    address = str(recipient.email_address)
    return f"{recipient.name} <{address}>" if recipient.name else address
