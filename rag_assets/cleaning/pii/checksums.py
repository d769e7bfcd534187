"""The check digits that tell a number people are given from any other number."""

from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Length of an IBAN by country. Source: SWIFT IBAN registry, release 98.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_ITALIAN_ODD = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
)  # fmt: skip


def digits(text: str) -> list[int]:
    """The digits in a text."""
    return [int(character) for character in text if character.isascii() and character.isdigit()]


def luhn(text: str) -> bool:
    """Payment cards. Source: ISO/IEC 7812-1."""
    total = 0
    for place, digit in enumerate(reversed(digits(text))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(text: str) -> bool:
    """A card number: the length and first digits that issuers use, and the check digit."""
    number = digits(text)
    first = int("".join(map(str, number[:2])) or 0)
    issued = {15: {34, 37}, 14: {30, 36, 38, 39}}.get(len(number), {*range(40, 70), *range(22, 28)})
    return 13 <= len(number) <= 19 and first in issued and len(set(number)) > 1 and luhn(text)


def iban_length(text: str) -> int:
    """How many characters of a text, spaces included, are a bank account at its beginning; 0: none.

    Source: ISO 13616, remainder 1 modulo 97.
    """
    length = 0
    compact = ""
    wanted = _IBAN_LENGTHS.get(text[:2], 0)
    while length < len(text) and len(compact) < wanted:
        compact += text[length].strip()
        length += 1
    if not wanted or len(compact) != wanted:
        return 0
    number = "".join(str(_ALPHABET.index(character)) for character in compact[4:] + compact[:4])
    return length if int(number) % 97 == 1 else 0


def weighted(weights: tuple[int, ...], modulus: int, wanted: int = 0) -> Callable[[str], bool]:
    """A check: the sum of digit times weight leaves `wanted`."""

    def check(text: str) -> bool:
        number = digits(text)
        if len(number) != len(weights) or len(set(number)) == 1:
            return False
        return sum(d * w for d, w in zip(number, weights, strict=True)) % modulus == wanted

    return check


def spanish_dni(text: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23."""
    compact = text.upper().replace("-", "").replace(" ", "")
    number = compact[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == compact[-1]


def french_nir(text: str) -> bool:
    """French social security numbers: two digits complement the rest modulo 97."""
    compact = "".join(text.split()).upper().replace("2A", "19").replace("2B", "18")
    return compact.isdigit() and int(compact[-2:]) == 97 - int(compact[:-2]) % 97


def german_tax_id(text: str) -> bool:
    """German tax identification numbers. Source: ISO/IEC 7064, MOD 11,10."""
    number = digits(text)
    if len(number) != 11 or number[0] == 0:
        return False
    product = 10
    for digit in number[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == number[-1]


def italian_fiscal_code(text: str) -> bool:
    """Italian codice fiscale: the last letter sums the others, those in odd places by a table."""
    total = 0
    for place, character in enumerate(text.upper()[:-1]):
        value = int(character) if character.isdigit() else ord(character) - ord("A")
        total += value if place % 2 else _ITALIAN_ODD[value]
    return chr(ord("A") + total % 26) == text[-1].upper()


def brazilian_cpf(text: str) -> bool:
    """Brazilian CPF: two check digits modulo 11."""
    number = digits(text)
    if len(number) != 11 or len(set(number)) == 1:
        return False
    for length in (9, 10):
        total = sum(d * (length + 1 - i) for i, d in enumerate(number[:length]))
        if total * 10 % 11 % 10 != number[length]:
            return False
    return True


def aadhaar(text: str) -> bool:
    """Indian Aadhaar numbers. Source: Verhoeff 1969, over the dihedral group of ten elements."""
    check = 0
    for place, digit in enumerate(reversed(digits(text))):
        check = _product(check, _permuted(place, digit))
    return check == 0


def _product(left: int, right: int) -> int:
    """Multiplication in the dihedral group D5."""
    if left < 5:
        return (left + right) % 5 if right < 5 else (left + right - 5) % 5 + 5
    return (left - 5 - right) % 5 + 5 if right < 5 else (left - right) % 5


def _permuted(times: int, digit: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit
