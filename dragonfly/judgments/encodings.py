"""What a file really is, and in which encoding its text stands; nothing is replaced or repaired."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dragonfly.errors import InputRefused

MAX_BYTES: Final = 50 * 1024 * 1024
"""Largest CSV that is read."""

_BLOCK: Final = 1 << 20
_SAVE_AS_CSV: Final = "open it in Excel and save it as CSV UTF-8 (comma delimited)"
_UTF8_IN_CP1252: Final = re.compile(
    rb"[\xc2-\xc5][\x80-\xbf]|\xe2[\x80\x82\x84][\x80-\xbf]|\xef\xbb\xbf|\xf0\x9f[\x80-\xbf]{2}"
)
_UNDEFINED_IN_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_OTHER_TYPES: Final[tuple[tuple[tuple[bytes, ...], str], ...]] = (
    (
        (b"\xd0\xcf\x11\xe0",),
        "an old Excel workbook (.xls) or an Excel workbook locked by a password",
    ),
    ((b"%pdf",), "a PDF document"),
    ((b"<!doctype html", b"<html", b"<table", b"<head", b"<meta"), "a web page (HTML)"),
    ((b"<?xml",), "an XML document"),
    ((b"{\\rtf",), "a rich text document (RTF)"),
    ((b"\x1f\x8b",), "a gzip archive"),
)
_NOT_ASCII: Final = re.compile(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file is decoded; ``samples`` are up to three words that show if a guess is right."""

    name: str
    guessed: bool = False
    samples: tuple[str, ...] = ()


def refuse_other_types(path: Path) -> None:
    """Refuse what is no text table by its content, whatever its name says.

    Refusals: EMPTY_FILE, FILE_TOO_LARGE, FILE_TYPE (naming the true type).
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        limit = MAX_BYTES // (1024 * 1024)
        raise InputRefused(
            "FILE_TOO_LARGE", f"The file is larger than {limit} MB; split it and load the parts."
        )
    with path.open("rb") as file:
        start = file.read(1024)
    if not start.removeprefix(codecs.BOM_UTF8).strip():
        raise InputRefused("EMPTY_FILE", "The file holds nothing; export it again.")
    kind = _true_type(path, start)
    if kind:
        raise InputRefused("FILE_TYPE", f"The file is {kind}, not a CSV; {_SAVE_AS_CSV}.")


def _true_type(path: Path, start: bytes) -> str | None:
    if start.startswith(b"PK\x03\x04"):
        return _zip_type(path)
    text = start.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next((kind for marks, kind in _OTHER_TYPES if text.startswith(marks)), None)


def _zip_type(path: Path) -> str:
    """Nothing is unpacked: only a bounded part of the archive is looked at, for names of files.

    Whoever reads its list of names trusts its sizes, and holds a million of them.
    """
    with path.open("rb") as file:
        seen = file.read(_BLOCK)
        file.seek(max(0, file.seek(0, io.SEEK_END) - _BLOCK))
        end = file.read(_BLOCK)
    seen += end
    if b"PK\x05\x06" not in end:
        return "a damaged zip archive"
    if b"[Content_Types].xml" not in seen:
        return "a zip archive"
    if b"xl/vbaProject.bin" in seen:
        return "an Excel workbook with macros (.xlsm)"
    if b"xl/" in seen:
        return "an Excel workbook (.xlsx)"
    return "an Office document"


def find_encoding(path: Path) -> Encoding:
    """The one encoding in which every byte of the file makes sense.

    An order mark decides; otherwise strict UTF-8, then strict Windows-1252 as a guess.
    Refusals, with the line: NUL_BYTES, ENCODING_MIXED, ENCODING_UNKNOWN.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            _check_utf16(file)
            return Encoding("utf-16")
        marked = start.startswith(codecs.BOM_UTF8)
        return _scan(file, "utf-8-sig" if marked else "utf-8")


def _check_utf16(file: BinaryIO) -> None:
    decoder = codecs.getincrementaldecoder("utf-16")("strict")
    line = 1
    try:
        while block := file.read(_BLOCK):
            text = decoder.decode(block)
            if "\0" in text:
                raise _nul_bytes(line + text[: text.index("\0")].count("\n"))
            line += text.count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _unknown(line) from error


class _Scan:
    """What the lines of a file could be; a line break never stands inside a UTF-8 letter."""

    __slots__ = ("_line", "not_cp1252", "not_utf8", "samples", "utf8_only")

    def __init__(self) -> None:
        self._line = 1
        self.not_utf8 = self.utf8_only = self.not_cp1252 = 0
        self.samples: list[str] = []

    def add(self, content: bytes) -> None:
        """Look at one more line; the first line of each kind is kept."""
        if b"\0" in content:
            raise _nul_bytes(self._line_at(content, content.index(b"\0")))
        if not content.isascii():
            self.not_utf8 = self.not_utf8 or self._line_at(content, _first_not_utf8(content))
            utf8 = _UTF8_IN_CP1252.search(content)
            self.utf8_only = self.utf8_only or self._line_at(content, utf8 and utf8.start())
            undefined = _UNDEFINED_IN_CP1252.search(content)
            self.not_cp1252 = self.not_cp1252 or self._line_at(
                content, undefined and undefined.start()
            )
            if len(self.samples) < 3:
                words = _NOT_ASCII.findall(content.decode("cp1252", "ignore"))
                self.samples += words[: 3 - len(self.samples)]
        self._line += _breaks(content)

    def _line_at(self, content: bytes, at: int | None) -> int:
        return 0 if at is None else self._line + _breaks(content[:at])


def _scan(file: BinaryIO, utf8: str) -> Encoding:
    seen = _Scan()
    for content in file:
        seen.add(content)
    if not seen.not_utf8:
        return Encoding(utf8)
    if utf8 == "utf-8-sig" or seen.utf8_only:
        raise InputRefused(
            "ENCODING_MIXED",
            f"Line {seen.not_utf8} is not in UTF-8 though other parts of the file are; save it"
            " again as CSV UTF-8.",
        )
    if seen.not_cp1252:
        raise _unknown(seen.not_cp1252)
    return Encoding("cp1252", guessed=True, samples=tuple(seen.samples))


def _breaks(content: bytes) -> int:
    """Physical line breaks: LF, CRLF and a lone CR each count one."""
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


def _first_not_utf8(content: bytes) -> int | None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


def _nul_bytes(line: int) -> InputRefused:
    return InputRefused(
        "NUL_BYTES",
        f"Line {line} holds a NUL byte, so the file is damaged or no text; export it again as CSV.",
    )


def _unknown(line: int) -> InputRefused:
    return InputRefused(
        "ENCODING_UNKNOWN",
        f"Line {line} is in no encoding that can be read for certain; save the file as CSV UTF-8.",
    )
