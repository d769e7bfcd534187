"""Email by SMTP."""

import smtplib
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from rag_assets.config import EmailConfig
from rag_assets.notify.base import Message, Undelivered

_TIMEOUT = 10.0


class EmailChannel:
    """One plain message to all recipients."""

    name = "email"

    def __init__(self, config: EmailConfig) -> None:
        self._config = config

    def send(self, message: Message) -> None:
        """Deliver one message. Raises: Undelivered."""
        try:
            with self._connected() as server:
                server.send_message(self._written(message))
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            said = said.decode(errors="replace") if isinstance(said, bytes) else said
            # 4yz is "try again", 5yz is final
            raise Undelivered(
                f"email: {self._config.host} answered {error.smtp_code} {said}",
                passing=400 <= error.smtp_code < 500,
            ) from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise Undelivered(
                f"email: {self._config.host} refused {', '.join(error.recipients)}",
                passing=any(code < 500 for code in codes),
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"email: {self._config.host}: {error}", passing=True) from error

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        context = ssl.create_default_context()
        server: smtplib.SMTP
        if config.security == "tls":
            server = smtplib.SMTP_SSL(config.host, config.port, timeout=_TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(config.host, config.port, timeout=_TIMEOUT)
        try:
            if config.security == "starttls":
                server.starttls(context=context)
            if config.username:
                server.login(config.username, config.password or "")
        except BaseException:
            server.close()
            raise
        return server

    def _written(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"] = self._config.sender
        mail["To"] = ", ".join(self._config.to)
        mail["Date"] = format_datetime(datetime.fromisoformat(message.at))
        domain = parseaddr(self._config.sender)[1].rpartition("@")[2] or "localhost"
        mail["Message-ID"] = f"<{message.id}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text + "\n")
        return mail
