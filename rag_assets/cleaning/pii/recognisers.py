"""What personal data looks like. Each recogniser is a pattern, and a check where there is one."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rag_assets.cleaning.pii import checksums
from rag_assets.config import PiiEntity


def _anything(text: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Finds one kind of data.

    pattern: its first group is the data where it has groups, else all of it. Quantifiers are
    bounded and, where they could overlap, possessive, so that no text makes the search explode.
    check: whether a match really is one. near, not_after: what must, or must not, stand in the 40
    characters before a match that has no check worth the name.
    hints: a text with none of them has no match, which is told 100 times faster.
    """

    entity: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = _anything
    near: re.Pattern[str] | None = None
    not_after: re.Pattern[str] | None = None
    hints: tuple[str, ...] = ()

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """(start, end) of every match that passes."""
        if self.hints and not any(hint in text for hint in self.hints):
            return
        for match in self.pattern.finditer(text):
            start, end = match.span(1 if self.pattern.groups else 0)
            before = text[max(0, start - 40) : start]
            if self.near is not None and not self.near.search(before):
                continue
            if self.not_after is not None and self.not_after.search(before):
                continue
            if self.check(text[start:end]):
                yield start, end


class BankAccounts:
    """Finds IBANs, whose country tells where among the words behind them they end."""

    entity = "iban"
    pattern = re.compile(r"(?<!\w)[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """(start, end) of every account number."""
        for match in self.pattern.finditer(text):
            length = checksums.iban_length(match[0])
            if length:
                yield match.start(), match.start() + length


_NO_TLD = {
    "bmp", "css", "gif", "html", "ico", "jpeg", "jpg", "js", "json", "local", "md", "pdf", "php",
    "png", "py", "service", "so", "svg", "ts", "txt", "webp", "yaml", "yml",
}  # fmt: skip


def _is_mail(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    known = domain.rpartition(".")[2].lower() not in _NO_TLD
    return known and local.lower() != "git" and ".." not in text and len(local) <= 64


def _is_public_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_phone(text: str) -> bool:
    number = checksums.digits(text)
    return 8 <= len(number) <= 15 and len(set(number)) > 2


def _words(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_VERSION = _words(r"(?:version|release|build|\bv|[=<>~]=)\s*$")

RECOGNISERS: dict[PiiEntity, tuple[Recogniser | BankAccounts, ...]] = {
    "email": (
        Recogniser(
            "email",
            _pattern(r"(?<![\w.+/-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w@])"),
            _is_mail,
            not_after=_words(r"://\S*$"),  # a password in an address
            hints=("@",),
        ),
    ),
    "phone": (
        # International, with any of the usual separators.
        Recogniser(
            "phone",
            _pattern(
                r"(?<![\w.+-])(?<!\d )(?:\+|00(?=[1-9]\d{0,2}[ ./(-]))[1-9]\d{0,2}"
                r"(?:[ ./-]?(?:\(\d{1,5}\)|\d{1,5}+)){2,7}+(?!\w)"
            ),
            _is_phone,
        ),
        # North American, written out.
        Recogniser(
            "phone",
            _pattern(
                r"(?<![\w.-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])"
                r"[2-9]\d\d[.-]\d{4}(?![\w-])"
            ),
            _is_phone,
        ),
        # Any other number that is said to be one.
        Recogniser(
            "phone",
            _pattern(r"(?<![\w.])\(?\d{2,5}\)?(?:[ /-]{1,3}\d{2,8}){1,4}(?!\w)"),
            _is_phone,
            _words(r"\b(?:phone|tel(?:ephone|efon|éfono)?|mobile?|handy|cell|fax|call)\b\D{0,12}$"),
        ),
    ),
    "credit_card": (
        Recogniser(
            "credit_card",
            _pattern(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"),
            checksums.card,
        ),
    ),
    "iban": (BankAccounts(),),
    "ip_address": (
        Recogniser(
            "ip_address",
            _pattern(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)"),
            _is_public_address,
            not_after=_VERSION,
        ),
        Recogniser(
            "ip_address",
            _pattern(
                r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){2,7}(?::?[0-9a-fA-F]{1,4}+){1,6}+(?![\w:])"
            ),
            _is_public_address,
        ),
    ),
    "crypto_wallet": (
        Recogniser(
            "crypto_wallet", _pattern(r"(?<!\w)bc1[02-9ac-hj-np-z]{38,58}(?!\w)"), hints=("bc1",)
        ),
        Recogniser("crypto_wallet", _pattern(r"(?<!\w)0x[0-9a-fA-F]{40}(?!\w)"), hints=("0x",)),
    ),
    "national_id": (
        # United States: social security number.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])"),
        ),
        # United Kingdom: national insurance number.
        Recogniser(
            "national_id",
            _pattern(
                r"(?<!\w)(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
                r" ?\d\d ?\d\d ?\d\d ?[A-D](?!\w)"
            ),
        ),
        # Spain: DNI and NIE.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z](?![\w-])"),
            checksums.spanish_dni,
        ),
        # France: social security number.
        Recogniser(
            "national_id",
            _pattern(
                r"(?<!\w)[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB])"
                r" ?\d{3} ?\d{3} ?\d\d(?!\w)"
            ),
            checksums.french_nir,
        ),
        # Italy: codice fiscale.
        Recogniser(
            "national_id",
            _pattern(r"(?<!\w)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)"),
            checksums.italian_fiscal_code,
        ),
        # Germany: tax identification number.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])[1-9]\d ?\d{3} ?\d{3} ?\d{3}(?![\w-])"),
            checksums.german_tax_id,
            _words(r"steuer", r"\btax\b", r"\bid-?nr\b", r"\btin\b"),
        ),
        # Poland: PESEL.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])\d{11}(?![\w-])"),
            checksums.weighted((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10),
            _words("pesel"),
        ),
        # Netherlands: BSN.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])\d{9}(?![\w-])"),
            checksums.weighted((9, 8, 7, 6, 5, 4, 3, 2, -1), 11),
            _words(r"\bbsn\b", "burgerservicenummer", "sofinummer"),
        ),
        # Switzerland: AHV number.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w.])756\.\d{4}\.\d{4}\.\d\d(?![\w.])"),
            checksums.weighted((1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1), 10),
        ),
        # Brazil: CPF.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w.])\d{3}\.\d{3}\.\d{3}-\d\d(?![\w-])"),
            checksums.brazilian_cpf,
        ),
        # India: Aadhaar.
        Recogniser(
            "national_id",
            _pattern(r"(?<![\w-])[2-9]\d{3} \d{4} \d{4}(?! ?\d)(?![\w-])"),
            checksums.aadhaar,
        ),
    ),
}
