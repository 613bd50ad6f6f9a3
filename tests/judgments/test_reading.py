"""Reading files: nothing shifted, nothing guessed silently, nothing held that is too large."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from dragonfly.errors import InputRefused
from dragonfly.judgments import reading
from dragonfly.judgments.reading import MAX_CELL, open_export
from dragonfly.judgments.records import RawRow

HEADER = "Case Number,Plaintiff,Defendant,Judgment Amount,Filing Date,County"


def read(folder: Path, content: bytes | str) -> list[RawRow]:
    path = folder / "export.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_export(path) as export:
        return list(export)


def refusal(folder: Path, content: bytes | str) -> InputRefused:
    with pytest.raises(InputRefused) as refused:
        read(folder, content)
    return refused.value


def zipped(*names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as contents:
        for name in names:
            contents.writestr(name, "x")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("encoding", "delimiter", "recorded"),
    [
        ("utf-8", ",", "utf-8"),
        ("utf-8-sig", ";", "utf-8-sig"),
        ("utf-16", "\t", "utf-16"),
        ("utf-8", "|", "utf-8"),
    ],
)
def test_encoding_and_delimiter_are_found(
    tmp_path: Path, encoding: str, delimiter: str, recorded: str
) -> None:
    """An order mark and the header's own delimiter decide how a file is read."""
    path = tmp_path / "export.csv"
    text = f"{HEADER}\r\n1/20,Peña,O’Brien,5.00,,Kings\r\n".replace(",", delimiter)
    path.write_bytes(text.encode(encoding))
    with open_export(path) as export:
        rows = list(export)
        found = (export.encoding, export.encoding_guessed, export.delimiter, export.header[0])
    assert (recorded, False, delimiter, "Case Number") == found
    assert [RawRow(1, 2, ("1/20", "Peña", "O’Brien", "5.00", "", "Kings"))] == rows


def test_utf16_in_either_byte_order_is_read(tmp_path: Path) -> None:
    """Excel's "Unicode text" is read whichever byte comes first."""
    text = f"{HEADER}\n1/20,A,B,5,,Kings\n"
    for mark, order in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        assert "A" == read(tmp_path, mark + text.encode(order))[0].cells[1]


def test_windows_1252_is_a_guess_that_shows_samples(tmp_path: Path) -> None:
    """A file that is not UTF-8 is read as Windows-1252, says so, and shows three words."""
    path = tmp_path / "export.csv"
    text = f"{HEADER}\n1/20,Peña,O’Brien,5,,Kings\n2/20,JOSÉ’S DELI,Núñez,5,,Kings\n"
    path.write_bytes(text.encode("cp1252"))
    with open_export(path) as export:
        assert ("cp1252", True) == (export.encoding, export.encoding_guessed)
        assert ("Peña", "O’Brien", "JOSÉ’S") == export.encoding_samples
        assert "O’Brien" == next(iter(export)).cells[2]


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("Peña,x\n".encode() * 2 + "Peña,x\n".encode("cp1252"), "ENCODING_MIXED", "Line 4 "),
        (b"\xef\xbb\xbfA,\xf1\n", "ENCODING_MIXED", "Line 2 "),
        (b"ok,ok\nA\x81,B\n", "ENCODING_UNKNOWN", "Line 3 "),
        (b"ok,ok\rA\x00,B\n", "NUL_BYTES", "Line 3 "),
        ("a,b\n".encode("utf-16-le"), "NUL_BYTES", "Line 2 "),
    ],
)
def test_bytes_that_make_no_sense_refuse_the_file(
    tmp_path: Path, content: bytes, code: str, says: str
) -> None:
    """Mixed encodings, undefined bytes and NUL refuse the file and name the line."""
    start = content[:3] if content.startswith(b"\xef\xbb\xbf") else b""
    refused = refusal(tmp_path, start + HEADER.encode() + b"\n" + content.removeprefix(start))
    assert code == refused.code
    assert refused.message.startswith(says)


def test_broken_utf16_is_refused(tmp_path: Path) -> None:
    """Half a letter at the end, or a NUL letter, refuses a UTF-16 file."""
    text = f"{HEADER}\n1/20,A,B,5,,Kings\n"
    assert "ENCODING_UNKNOWN" == refusal(tmp_path, text.encode("utf-16") + b"x").code
    assert "NUL_BYTES" == refusal(tmp_path, f"{text}\0".encode("utf-16")).code


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (.xlsx)"),
        (zipped("[Content_Types].xml", "xl/vbaProject.bin"), "with macros (.xlsm)"),
        (zipped("[Content_Types].xml", "word/document.xml"), "an Office document"),
        (zipped("judgments.csv"), "a zip archive"),
        (b"PK\x03\x04 cut off", "a damaged zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an old Excel workbook (.xls)"),
        (b"%PDF-1.7\n...", "a PDF document"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html>", "a web page (HTML)"),
        (b"<html><table>", "a web page (HTML)"),
        (b'<?xml version="1.0"?>', "an XML document"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
    ],
)
def test_other_kinds_of_files_are_named_for_what_they_are(
    tmp_path: Path, content: bytes, says: str
) -> None:
    """Content, not the name, tells what a file is; the sentence says to save it as CSV."""
    refused = refusal(tmp_path, content)
    assert "FILE_TYPE" == refused.code
    assert says in refused.message
    assert "save it as CSV" in refused.message


@pytest.mark.parametrize(
    "content",
    ["", "\ufeff", " \r\n\t\n", HEADER, f"{HEADER}\r\n", f"{HEADER}\n,,,,,\n\n", ",,,\n,,\n"],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    """Nothing, an order mark, blank lines or a header alone is an empty file."""
    assert "EMPTY_FILE" == refusal(tmp_path, content).code


def test_a_utf16_mark_alone_is_an_empty_file(tmp_path: Path) -> None:
    """Two bytes of order mark are no content."""
    assert "EMPTY_FILE" == refusal(tmp_path, b"\xff\xfe").code


def test_a_line_break_in_a_cell_moves_the_line_but_not_the_excel_row(tmp_path: Path) -> None:
    """Rows carry the physical line they start on, and their number as Excel counts."""
    content = f'{HEADER}\r\n1/20,"A\r\nB",C,5,,\r\n\r\n,,,,,\r\n2/20,D,E,5,,\r\n3/20,F,G,5,,'
    assert [(1, 2, "1/20"), (4, 6, "2/20"), (5, 7, "3/20")] == [
        (row.row_no, row.line_no, row.cells[0]) for row in read(tmp_path, content)
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_each_kind_of_line_end_counts_once(tmp_path: Path, newline: str) -> None:
    """Unix, Windows and old Mac files have the same lines."""
    content = newline.join([HEADER, "1/20,A,B,5,,", '2/20,"Ann ""Red"" Roe",D,5,,', ""])
    assert [(2, "A"), (3, 'Ann "Red" Roe')] == [
        (row.line_no, row.cells[1]) for row in read(tmp_path, content)
    ]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('1/20,A,B,5,,\n2/20,"C,D,5,,\n', 3),
        ('1/20,A,B,5,,\n2/20,"C,D,5,,\n3/20,E,F,5,,\n4/20,"G",H,5,,\n', 3),
        ('1/20,A,"' + "x" * 300_000 + "\n2/20,C,D,5,,\n", 2),
        ('1/20,A,"' + "x\n" * 200_000, 2),
        ('1/20,A,"' + "x\n" * 200_000 + '2/20,"C",D,5,,\n3/20,E,F,5,,\n', 2),
    ],
)
def test_a_quote_left_open_refuses_the_file_and_names_its_line(
    tmp_path: Path, rows: str, line: int
) -> None:
    """After an open quote nothing is certain, so the file is refused with the line it began on."""
    refused = refusal(tmp_path, f"{HEADER}\n{rows}")
    assert "UNTERMINATED_QUOTE" == refused.code
    assert f"line {line} " in refused.message


def test_a_broken_quote_within_a_line_breaks_only_that_row(tmp_path: Path) -> None:
    """A quote that is not doubled leaves its line as one cell, and the next row whole."""
    rows = read(tmp_path, f'{HEADER}\n1/20,"A "B" C",D,5,,\n2/20,E,F,5,,\n')
    assert ['1/20,"A "B" C",D,5,,\n'] == list(rows[0].cells)
    assert (3, "E") == (rows[1].line_no, rows[1].cells[1])


@pytest.mark.parametrize(
    "cell",
    [
        "x" * 70_000,
        "x" * 200_000,
        "x" * 3_000_000,
        '"' + "x\ny" * 60_000 + '"',
        '"' + 'x""y,\n' * 700_000 + '"',
    ],
)
def test_an_oversized_cell_costs_its_row_and_no_memory(tmp_path: Path, cell: str) -> None:
    """A cell beyond the limit is cut to one character more than it, and the next row is whole."""
    path = tmp_path / "export.csv"
    path.write_text(f"{HEADER}\n1/20,{cell},B,5,,\n2/20,C,D,5,,\n", newline="")
    with open_export(path) as export:
        tracemalloc.start()
        first, second = list(export)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert MAX_CELL + 1 == max(map(len, first.cells))
    assert ("2/20", 3 + cell.count("\n")) == (second.cells[0], second.line_no)
    assert peak < 12_000_000


def test_rows_are_read_lazily_and_again(tmp_path: Path) -> None:
    """An export can be gone through more than once, and never holds all its rows."""
    path = tmp_path / "export.csv"
    path.write_text(f"{HEADER}\n" + "1/20,Aldous Roe,Briony Roe,5.00,,Kings\n" * 30_000)
    with open_export(path) as export:
        tracemalloc.start()
        counts = [sum(1 for _ in export), sum(1 for _ in export)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [30_000, 30_000] == counts
    assert peak < 1_000_000


def test_the_limits_of_a_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many columns, rows or bytes refuse the file with the limit."""
    wide = ",".join(f"Column {number}" for number in range(300))
    assert "TOO_MANY_COLUMNS" == refusal(tmp_path, f"{wide}\n{',' * 299}x\n").code
    monkeypatch.setattr(reading, "MAX_ROWS", 2)
    assert 2 == len(read(tmp_path, f"{HEADER}\n" + "1/20,A,B,5,,\n" * 2))
    assert "TOO_MANY_ROWS" == refusal(tmp_path, f"{HEADER}\n" + "1/20,A,B,5,,\n" * 3).code
    with (tmp_path / "large.csv").open("wb") as large:
        large.truncate(50 * 1024 * 1024 + 1)
    with pytest.raises(InputRefused) as refused, open_export(tmp_path / "large.csv"):
        pass
    assert "FILE_TOO_LARGE" == refused.value.code


def test_columns_without_a_name_stay_where_they_are(tmp_path: Path) -> None:
    """Excel's empty columns at the end are part of the header and of the rows."""
    path = tmp_path / "export.csv"
    path.write_text(f"{HEADER},,,\n1/20,A,B,5,,Kings,,,\n")
    with open_export(path) as export:
        assert (9, ("", "", "")) == (len(export.header), export.header[6:])
        assert 9 == len(next(iter(export)).cells)


def test_the_delimiter_is_the_one_the_rows_agree_on(tmp_path: Path) -> None:
    """Semicolons in names do not outvote the commas of the header, nor the reverse."""
    rows = read(tmp_path, f"{HEADER}\n1/20,A; B; C; D; E,F,5,,\n")
    assert "A; B; C; D; E" == rows[0].cells[1]
    semicolons = HEADER.replace(",", ";")
    rows = read(tmp_path, f'{semicolons}\n1/20;"A, B";C, D, E;"5,00";;\n')
    assert "C, D, E" == rows[0].cells[2]
