"""Prices as shops write them (`1.299,00 €`, `$1,299`, `Rp 1.500.000`): one rule for marks and currency per column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.data.catalog_config import PriceFormat
from core.errors import UserError, some

Floats = NDArray[np.float64]

_BLANKS = (
    dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u2007"), " ") | dict.fromkeys(map(ord, "’ʼ‘`´"), "'") | {0x2212: "-"}
)
_CURRENCY = r"[^\d\s+\-.,'][^\d\s+\-.,']{0,7}(?:(?<=[^\W\d_])\.)?"
"""A sign or a word; a point behind a word belongs to it (`Rs.`), one behind a sign to the number (`$.99`)."""
_AMOUNT = re.compile(
    rf"(?P<sign>[+-]?) ?(?P<before>{_CURRENCY})? ?(?P<inner>[+-]?) ?(?P<body>[0-9.,][0-9.,' ]*?)"
    rf"(?:[.,]? ?[-–—]+)? ?(?P<after>{_CURRENCY})?"
)
"""`.–` and `,-` behind an amount stand for no cents."""
_LISTED = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD
    XOF XPF YER ZAR ZMW ZWL
"""
_CODES = frozenset(_LISTED.split())
_DOLLARS = "USD AUD CAD NZD SGD HKD TWD MXN ARS CLP COP"
_SPELLINGS = {
    "$": _DOLLARS, "us$": "USD", "usd": "USD", "au$": "AUD", "a$": "AUD", "ca$": "CAD", "c$": "CAD", "nz$": "NZD", "s$": "SGD",
    "hk$": "HKD", "nt$": "TWD", "mx$": "MXN", "r$": "BRL", "€": "EUR", "eur": "EUR", "euro": "EUR", "euros": "EUR", "£": "GBP",
    "¥": "JPY CNY", "円": "JPY", "元": "CNY", "rmb": "CNY", "₹": "INR", "rs": "INR PKR LKR NPR MUR", "rp": "IDR", "₫": "VND",
    "đ": "VND", "vnđ": "VND", "kr": "SEK NOK DKK ISK", "zł": "PLN", "kč": "CZK", "ft": "HUF", "lei": "RON", "₽": "RUB",
    "руб": "RUB", "р": "RUB", "₺": "TRY", "tl": "TRY", "₩": "KRW", "원": "KRW", "฿": "THB", "₱": "PHP", "₴": "UAH", "грн": "UAH",
    "fr": "CHF", "sfr": "CHF", "rm": "MYR", "₪": "ILS", "лв": "BGN", "₦": "NGN", "dh": "AED MAD", "s/": "PEN",
}  # fmt: skip
"""Signs and short forms, and the currencies that each may be."""
_SPOKEN = {".": "point", ",": "comma", " ": "space", "'": "apostrophe"}


@dataclass(frozen=True)
class PriceColumn:
    """numbers: (n,), NaN for what is no number. rule: that of the column, where it is more than plain numbers.

    doubt: how to read the cells the other way, where they can be read in two.
    """

    numbers: Floats
    rule: str = ""
    doubt: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell people."""
        return tuple(filter(None, (self.rule, self.doubt)))


@dataclass(frozen=True)
class _PriceCell:
    """Text of a cell, taken apart. plain: its value as a plain number, or NaN."""

    row: int
    sign: str
    body: str
    currency: str
    plain: float


def plain_numbers(texts: Sequence[str]) -> Floats:
    """(n,) numbers; NaN for what is no plain number."""
    return pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)


def read_prices(
    texts: Sequence[str], name: str, place: Callable[[int], str], asked: PriceFormat | None = None
) -> PriceColumn:
    """A column of prices by one rule: the format that reads most of its cells, or the asked one.

    Columns of plain numbers stay as they are. name: of file and column, for notes. place: names the row at a position.
    Raises UserError where cells have different currencies.
    """
    plain = plain_numbers(texts)
    unread = np.isnan(plain)
    if asked is None and all(not text.strip() for text, missing in zip(texts, unread, strict=True) if missing):
        return PriceColumn(plain, doubt=_plain_doubt(texts, name))
    amounts = [found for row, text in enumerate(texts) if (found := _amount(row, text, float(plain[row]))) is not None]
    rule = asked or _rule(amounts)
    numbers = _converted(amounts, rule, plain)
    if asked is None and not (unread & ~np.isnan(numbers)).any():
        return PriceColumn(plain, doubt=_plain_doubt(texts, name))
    read = [each for each in amounts if not np.isnan(numbers[each.row])]
    currency = _one_currency(read, name, place)
    doubt = "" if asked else _doubt([each.body for each in read], rule, name)
    return PriceColumn(numbers, f"{name}: {_spoken(read, rule)}{currency}", doubt)


def _amount(row: int, text: str, plain: float) -> _PriceCell | None:
    found = _AMOUNT.fullmatch(text.translate(_BLANKS).strip())
    if found is None or (found["sign"] and found["inner"]):
        return None
    tokens = [token for token in (found["before"], found["after"]) if token]
    if tokens and not frozenset.intersection(*map(_currencies, tokens)):
        return None
    # `$12 CAD`: the narrower of the two says more.
    currency = min(tokens, key=lambda token: len(_currencies(token)), default="")
    return _PriceCell(row, found["sign"] or found["inner"], found["body"].strip(), currency.rstrip("."), plain)


def _currencies(token: str) -> frozenset[str]:
    """The currencies that a sign, a code or a short form may be."""
    word = token.rstrip(".")
    if word in _CODES:
        return frozenset([word])
    return frozenset(_SPELLINGS.get(word.lower(), "").split())


def _pattern(rule: PriceFormat) -> re.Pattern[str]:
    """Amounts in this format, with or without groups and fraction; after commas also Indian groups (`1,29,900`)."""
    thousands, mark = map(re.escape, _marks(rule))
    groups = rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+"
    if thousands == ",":
        groups = r"[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}"
    return re.compile(rf"(?:{groups}|[0-9]*){mark}[0-9]+|(?:{groups}|[0-9]+){mark}?")


def _marks(rule: PriceFormat) -> tuple[str, str]:
    """Separator of thousands, and decimal mark."""
    return rule[1], rule[-3]


def _rule(amounts: Sequence[_PriceCell]) -> PriceFormat:
    """The format that reads most cells. Equals differ at most in cells such as `1,299`: then a comma parts thousands, and a point
    does where a currency stands beside it; in a plain number it stays the decimal mark."""
    rules = list(PriceFormat)
    counts = Counter[PriceFormat]()
    for shape, count in Counter(re.sub("[0-9]", "0", each.body) for each in amounts).items():
        for rule in rules:
            counts[rule] += count * (_pattern(rule).fullmatch(shape) is not None)
    best = [rule for rule in rules if counts[rule] == max(counts.values(), default=0)]
    if PriceFormat.COMMA_POINT in best and PriceFormat.POINT_COMMA in best:
        points = [each for each in amounts if "." in each.body]
        if points and all(np.isnan(each.plain) for each in points):
            return PriceFormat.POINT_COMMA
    return best[0]


def _converted(amounts: Sequence[_PriceCell], rule: PriceFormat, plain: Floats) -> Floats:
    """The plain numbers, with the cells that are amounts read by the rule."""
    thousands, mark = _marks(rule)
    pattern = _pattern(rule)
    numbers = plain.copy()
    numbers[[each.row for each in amounts]] = np.nan
    read = [each for each in amounts if pattern.fullmatch(each.body)]
    texts = [f"{each.sign}{each.body.replace(thousands, '').replace(mark, '.')}" for each in read]
    numbers[[each.row for each in read]] = plain_numbers(texts)
    return numbers


def _one_currency(amounts: Sequence[_PriceCell], name: str, place: Callable[[int], str]) -> str:
    """`, currency €`, or nothing. Raises UserError where no currency fits all cells."""
    first: dict[str, int] = {}
    for each in amounts:
        first.setdefault(each.currency, each.row)
    tokens = [token for token in first if token]
    if not tokens:
        return ""
    if not frozenset.intersection(*map(_currencies, tokens)):
        listed = some([f"{token} in {place(first[token])}" for token in tokens])
        raise UserError(
            f"{name}: several currencies in one column: {listed}",
            code="prices-mixed-currencies",
            hint="convert them to one currency, or give a table for each",
        )
    counts = Counter(each.currency for each in amounts)
    most = max(tokens, key=counts.__getitem__)
    without = f" ({counts['']:,} of {len(amounts):,} cells name none)" if counts[""] else ""
    return f", currency {most}{without}"


def _spoken(amounts: Sequence[_PriceCell], rule: PriceFormat) -> str:
    """`decimal comma, thousands point`: of the rule, what the cells make use of."""
    thousands, mark = _marks(rule)
    used = [(mark, f"decimal {_SPOKEN[mark]}"), (thousands, f"thousands {_SPOKEN[thousands]}")]
    parts = [words for sign, words in used if any(sign in each.body for each in amounts)]
    return ", ".join(parts) or "whole numbers"


_THREE = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")


def _doubt(texts: Sequence[str], rule: PriceFormat, name: str) -> str:
    """Way to the other reading, where all cells with a mark are like `1.299` or `1,299`."""
    marked = [text for text in texts if "." in text or "," in text]
    if not marked or not all(map(_THREE.fullmatch, marked)):
        return ""
    other = PriceFormat.POINT_COMMA if rule is PriceFormat.COMMA_POINT else PriceFormat.COMMA_POINT
    taken = plain_numbers([marked[0].replace(_marks(rule)[0], "").replace(",", ".")])[0]
    return f"{name}: every cell with a mark is like {marked[0]}, read as {taken:g}; for the other way: --price-format '{other}'"


def _plain_doubt(texts: Sequence[str], name: str) -> str:
    return _doubt([text.strip() for text in texts], PriceFormat.COMMA_POINT, name)
