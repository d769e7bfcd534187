import random

import pytest

from rag_assets.cleaning.pii import find, guarded, leaks, redacted_text
from rag_assets.config import PiiConfig
from rag_assets.parsing.base import Heading, Page, Parsed, Unparseable

FLAG = PiiConfig(mode="flag")
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


def found(text, config=FLAG):
    return [(finding.entity, text[finding.start : finding.end]) for finding in find(text, config)]


@pytest.mark.parametrize(
    ("entity", "text", "data"),
    [
        (
            "email",
            "Write to ines.ruiz+hr@mail.example.org, please.",
            "ines.ruiz+hr@mail.example.org",
        ),
        ("email", "jörg@müller.de", "jörg@müller.de"),
        ("phone", "Call +49 30 123456-78 now", "+49 30 123456-78"),
        ("phone", "+1 (415) 555-2671", "+1 (415) 555-2671"),
        ("phone", "or 0049 30 1234567.", "0049 30 1234567"),
        ("phone", "(415) 555-2671", "(415) 555-2671"),
        ("phone", "Tel.: 030/123 456", "030/123 456"),
        ("credit_card", "4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("credit_card", "378282246310005", "378282246310005"),
        ("iban", "IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432", "GB82WEST12345698765432"),
        ("ip_address", "from 8.8.8.8:443", "8.8.8.8"),
        ("ip_address", "2001:4860:4860::8888", "2001:4860:4860::8888"),
        ("crypto_wallet", "0x52908400098527886E0F7030069857D2E4169EE7", None),
        ("crypto_wallet", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", None),
        ("national_id", "SSN 078-05-1120", "078-05-1120"),
        ("national_id", "NI number AB 12 34 56 C", "AB 12 34 56 C"),
        ("national_id", "DNI 12345678Z", "12345678Z"),
        ("national_id", "NIE X-1234567-L", "X-1234567-L"),
        ("national_id", "2 55 08 14 168 025 38", None),
        ("national_id", "RSSMRA85T10A562S", None),
        ("national_id", "Steuer-ID: 86 095 742 719", "86 095 742 719"),
        ("national_id", "PESEL 44051401359", "44051401359"),
        ("national_id", "BSN: 111222333", "111222333"),
        ("national_id", "756.9217.0769.85", None),
        ("national_id", "529.982.247-25", None),
        ("national_id", "2341 2341 2346", None),
        ("secret_private_key", f"key:\n{KEY}\n", KEY),
        ("secret_aws_key", "id AKIAIOSFODNN7ABCDEFG.", "AKIAIOSFODNN7ABCDEFG"),
        ("secret_github_token", "ghp_" + "a1" * 18, None),
        ("secret_slack_token", "xoxb-1234567890-abcdef", None),
        ("secret_in_url", "postgres://app:hunter2@db.local/x", "hunter2"),
        ("secret_assigned", 'DB_PASSWORD = "h7Gk2pQ9zL"', "h7Gk2pQ9zL"),
        (
            "secret_jwt",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9",
            None,
        ),
    ],
)
def test_data_is_found(entity, text, data):
    assert found(text) == [(entity, data or text)]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 and 0000 0000 0000 0000",
        "DE89 3704 0044 0532 0130 01",
        "icon@2x.png @app.put git@github.com:a/b user@host",
        "version 5.6.0.0, v1.2.3.4, pkg==1.2.3.4, 127.0.0.1, 192.168.1.1, 999.1.1.1, 1.2.3.4.5",
        "std::vector a::b 12:30:45 00:1A:2B:3C:4D:5E",
        "on 2026-05-12 at 10:00, ISBN 978-3-16-148410-0, 1,234,567.89, 10 000 000",
        "123456789 12345678A 000-12-3456 529.982.247-26 756.9217.0769.86",
        "password: changeme, api_key=${API_KEY}, secret = your-secret-here, token: xxxxxxxx",
        "https://user:password@example.org http://localhost:8080/@x",
        "007908799 009695399 3.14159265358979 0xdeadbeef",
        "PEP 484, RFC 2119, section 12.3.4.5.6",
    ],
)
def test_what_only_looks_like_it_is_left(text):
    assert found(text) == []


def test_a_country_makes_its_own_way_of_writing_numbers_known():
    text = "Zentrale 030 901820, Zimmer 12"
    assert found(text) == []
    assert found(text, PiiConfig(mode="flag", region="DE")) == [("phone", "030 901820")]


def test_entities_can_be_chosen_and_secrets_are_always_looked_for():
    text = "a@example.org 8.8.8.8 AKIAIOSFODNN7ABCDEFG"
    assert found(text, PiiConfig(mode="flag", entities=["ip_address"])) == [
        ("ip_address", "8.8.8.8"),
        ("secret_aws_key", "AKIAIOSFODNN7ABCDEFG"),
    ]
    assert found(text, PiiConfig()) == [("secret_aws_key", "AKIAIOSFODNN7ABCDEFG")]


TEXT = "# Ask ines@example.org\n\nCard 4111 1111 1111 1111.\n\n# Next\n\nbo@example.org"
PARSED = Parsed(
    TEXT,
    "Ask ines@example.org",
    "text/markdown",
    headings=(Heading(0, 1, "Ask ines@example.org"), Heading(TEXT.index("# Next"), 1, "Next")),
    pages=(Page(0, 1), Page(TEXT.index("bo@"), 2)),
    metadata={"author": "Bo <bo@example.org>", "year": 2026},
)


def test_off_changes_nothing():
    assert guarded(PARSED, PiiConfig()) == PARSED


def test_flag_counts():
    flagged = guarded(PARSED, FLAG)
    assert flagged.text == TEXT
    assert flagged.metadata == {**PARSED.metadata, "pii_email": 2, "pii_credit_card": 1}


def test_redact_reaches_everything_and_keeps_places_right():
    config = PiiConfig(mode="redact")
    redacted = guarded(PARSED, config)
    assert redacted.text == "# Ask [EMAIL]\n\nCard [CREDIT_CARD].\n\n# Next\n\n[EMAIL]"
    assert redacted.title == "Ask [EMAIL]"
    assert redacted.headings == (
        Heading(0, 1, "Ask [EMAIL]"),
        Heading(redacted.text.index("# Next"), 1, "Next"),
    )
    assert redacted.text[redacted.pages[1].start :] == "[EMAIL]"
    assert redacted.metadata == {
        "author": "Bo <[EMAIL]>",
        "year": 2026,
        "pii_email": 2,
        "pii_credit_card": 1,
    }
    assert leaks([redacted.text, redacted.title], config) == {}
    assert leaks([TEXT], config) == {"email": 2, "credit_card": 1}


def test_block_refuses_personal_data_but_not_secrets():
    config = PiiConfig(mode="block", entities=["email"])
    with pytest.raises(Unparseable, match=r"personal data \(2 email\)") as caught:
        guarded(PARSED, config)
    assert caught.value.reason == "blocked"
    secret = Parsed(KEY, None, "text/plain")
    assert guarded(secret, config).metadata == {"secrets": 1}


def test_redacted_text_follows_the_mode():
    assert redacted_text("a@example.org", PiiConfig(mode="redact")) == "[EMAIL]"
    assert redacted_text("a@example.org", FLAG) == "a@example.org"


def test_recall_on_generated_numbers():
    """Cards and accounts made at random with right check digits are found in running text."""
    chosen = random.Random(7)
    cards = [_with_luhn("4" + "".join(chosen.choices("0123456789", k=14))) for _ in range(200)]
    accounts = [_german_account("".join(chosen.choices("0123456789", k=18))) for _ in range(200)]
    text = " and ".join(cards) + ". Then " + ", ".join(accounts)
    kinds = [entity for entity, _ in found(text)]
    assert (kinds.count("credit_card"), kinds.count("iban")) == (200, 200)


def _with_luhn(number: str) -> str:
    from rag_assets.cleaning.pii.checksums import luhn

    return next(number + d for d in "0123456789" if luhn(number + d))


def _german_account(number: str) -> str:
    return f"DE{98 - int(number + '131400') % 97:02d}{number}"
