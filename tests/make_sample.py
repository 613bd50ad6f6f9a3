"""Makes the bundled Simplicity export: invented judgments with every oddity, always the same.

``python -m tests.make_sample`` writes it to ``dragonfly/judgments/data/simplicity_sample.csv``.
"""

from __future__ import annotations

import csv
import io
import random
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

HEADER = [
    "LeadID",
    "LeadSource",
    "Court",
    "IndexNumber",
    "JudgmentDate",
    "JudgmentAmount",
    "County",
    "State",
    "PlaintiffName",
    "PlaintiffAddress",
    "Phone",
    "Email",
    "BestContactMethod",
    "PlaintiffCity",
    "PlaintiffState",
    "PlaintiffZip",
    "CaseTitle",
    "CaseType",
    "Status",
    "CaseURL",
    "FilingDate",
    "JudgmentNumber",
    "JudgmentType",
    "RenewalDate",
    "ExpirationDate",
    "DefendantName",
    "EntryDate",
]
SOUND_ROWS = 380
BROKEN = "a comma that nobody quoted"

CREDITORS = [
    ("Hudson Lantern Credit LLC", "41 Lantern Row", "New York", "10011"),
    ("Gowanus Heron Funding Inc.", "7 Heron Slip, Floor 2", "Brooklyn", "11215"),
    ("Tallpine Recovery Corp", "300 Tallpine Plaza", "White Plains", "10601"),
    ("Bluestone Ledger Partners LP", "19 Ledger Court", "Albany", "12207"),
    ("Cobbled Lane Supply Co.", "88 Cobbled Lane", "Buffalo", "14202"),
    ("Marrow & Finch Landscaping LLC", "5 Finch Hill Road", "Mineola", "11501"),
    ("Quillfeather Medical P.C.", "212 Quill Street, Suite 9", "Queens", "11375"),
    ("Odalys Brightwater", "14 Brightwater Terrace", "Staten Island", "10301"),
    ("Seven Sills Realty LLC", "77 Sill Avenue", "Bronx", "10451"),
    ("Peña Márquez Imports Inc", "9 Calle Nueva", "New York", "10033"),
    ("Ironwood Fuel & Heating Corp.", "1 Depot Road", "Rochester", "14604"),
    ("Larkspur Tenants Corp", "60 Larkspur Way", "Riverhead", "11901"),
]
GIVEN = [
    "Aldous", "Briony", "Caspian", "Delphine", "Emeric", "Fenna", "Gideon", "Hesper", "Isidro",
    "Junia", "Kasimir", "Leocadia", "Merrick", "Nerissa", "Osric", "Petronella", "Quentin",
    "Rosalba", "Severin", "Tamsin", "Ulrich", "Verity", "Winifred", "Xiomara", "Yevgeni", "Zelda",
]  # fmt: skip
FAMILY = [
    "Ashgrove", "Birchall", "Coldwater", "Drummondy", "Elderfield", "Farthingale", "Greymoor",
    "Hollowell", "Inkpenny", "Jessamy", "Kettlewood", "Larkenby", "Mossgrave", "Nettlefold",
    "Oakhanger", "Pennywhistle", "Quarrystone", "Ravenscarry", "Stillwaters", "Thornapple",
    "Underbough", "Vandersloot", "Wetherspoke", "Yarrowby",
]  # fmt: skip
TRADES = ["Deli", "Auto Repair", "Plumbing", "Bakery", "Trucking", "Print Shop", "Diner", "Roofing"]
CASE_TYPES = ["Consumer Credit", "Consumer Credit", "Commercial", "Contract", "Commercial", ""]
STATUSES = ["Open", "Open", "open", "Filed", "Enforcement Pending", "enforcement_pending", ""]
METHODS = ["Phone", "Email", ""]
COURTS = [  # court as printed, county as printed, code in the index number, style of the index
    ("Kings County Civil Court", "Kings", "KI", "civil"),
    ("Brooklyn Civil", "Brooklyn", "KI", "civil"),
    ("Queens County Civil Court", "Queens", "QU", "civil"),
    ("NY CIVIL", "New York", "NY", "civil"),
    ("BRONX CIVIL", "Bronx", "BX", "civil"),
    ("Civil Court of the City of New York, County of Richmond", "Staten Island", "RI", "civil"),
    ("Supreme Court", "New York", "", "supreme"),
    ("Supreme Court of the State of New York, County of Kings", "Kings", "", "supreme"),
    ("Supreme Court, Bronx County", "Bronx", "E", "supreme"),
    ("Queens Supreme", "QUEENS", "", "supreme"),
    ("Nassau County District Court", "Nassau", "", "local"),
    ("Suffolk County District Court", "Suffolk County", "", "local"),
    ("Westchester County Court", "Westchester", "", "upstate"),
    ("Yonkers City Court", "Westchester", "", "local"),
    ("Erie County Supreme Court", "Erie", "", "upstate"),
    ("Monroe County Court", "Monroe", "", "upstate"),
    ("Albany City Court", "Albany", "", "local"),
    ("Onondaga Supreme", "Onondaga", "", "upstate"),
]

Row = dict[str, str]


def sound_row(rng: random.Random, number: int) -> Row:
    """One invented judgment, as the vendor might print it."""
    court, county, code, style = rng.choice(COURTS)
    filed = date(2012, 1, 3) + timedelta(days=rng.randrange(4_800))
    judged = filed + timedelta(days=rng.randrange(40, 220))
    entered = judged + timedelta(days=rng.randrange(30))
    case_type = rng.choice(CASE_TYPES)
    creditor, street, city, postcode = rng.choice(CREDITORS)
    debtor = a_debtor(rng, commercial=case_type in ("Commercial", "Contract"))
    return {
        "LeadID": f"SIM-{number:05d}",
        "LeadSource": rng.choice(["Court list", "Referral", "Web"]),
        "Court": court,
        "IndexNumber": an_index(rng, filed.year, code, style, number),
        "JudgmentDate": us_date(rng, judged),
        "JudgmentAmount": an_amount(rng),
        "County": county,
        "State": rng.choice(["NY", "NY", "NY", "New York"]),
        "PlaintiffName": reprinted(rng, creditor),
        "PlaintiffAddress": street,
        "Phone": f"({rng.choice(['212', '718', '516', '914', '585'])}) 555-01{number % 100:02d}",
        "Email": f"claims{number % 12}@creditor.example",
        "BestContactMethod": rng.choice(METHODS),
        "PlaintiffCity": city,
        "PlaintiffState": "NY",
        "PlaintiffZip": postcode,
        "CaseTitle": f"{creditor} v. {debtor}",
        "CaseType": case_type,
        "Status": rng.choice(STATUSES),
        "CaseURL": f"https://vendor.example/cases/{number}",
        "FilingDate": filed.isoformat(),
        "JudgmentNumber": f"J-{number:06d}" if rng.random() < 0.3 else "",
        "JudgmentType": rng.choice(["Default", "Verdict", "Stipulation"]),
        "RenewalDate": judged.replace(year=judged.year + 10, day=1).isoformat(),
        "ExpirationDate": judged.replace(year=judged.year + 20, day=1).isoformat(),
        "DefendantName": debtor,
        "EntryDate": f"{entered:%m/%d/%Y}" if rng.random() < 0.75 else "",
    }


def us_date(rng: random.Random, day: date) -> str:
    short = rng.random() < 0.1
    return f"{day.month}/{day.day}/{day:%y}" if short else f"{day:%m/%d/%Y}"


def an_index(rng: random.Random, year: int, code: str, style: str, number: int) -> str:
    serial = 1_000 + number * 37
    if style == "civil":
        separator = rng.choice(["", "/", " "])
        return f"CV-{serial:06d}-{year % 100:02d}{separator}{code}"
    if style == "supreme":
        return f"{serial + 800_000}/{year}{code}"
    return f"{serial}/{year % 100:02d}" if style == "local" else f"EF{year}-{serial}"


def an_amount(rng: random.Random) -> str:
    cents = rng.randrange(60_000, 9_500_000)
    dollars = f"{cents / 100:,.2f}"
    return rng.choice([f"${dollars}", dollars.replace(",", ""), f"USD {dollars}", dollars])


def reprinted(rng: random.Random, name: str) -> str:
    return rng.choice([name, name, name.upper(), name.removesuffix("."), f" {name} "])


def a_debtor(rng: random.Random, *, commercial: bool) -> str:
    given, family = rng.choice(GIVEN), rng.choice(FAMILY)
    if commercial:
        suffix = rng.choice(["LLC", "Inc.", "Corp"])
        return rng.choice(
            [
                f"{family} {rng.choice(TRADES)} {suffix}",
                f"{family} Holdings LLC d/b/a {family} {rng.choice(TRADES)}",
                f"{family} {rng.choice(TRADES)} {suffix} and {given} {family}",
            ]
        )
    return rng.choice(
        [
            f"{given} {family}",
            f"{given} {rng.choice('ABCDELMR')}. {family}",
            f"{family}, {given}",
            f"{given} {family} and {rng.choice(GIVEN)} {family}",
            f"{given} {family} a/k/a {given[0]}. {family}",
        ]
    )


def odd_rows(rng: random.Random) -> list[Row]:
    """Rows that load, or wait for a person, but trip a careless reader."""

    def odd(number: int, **changes: str) -> Row:
        return sound_row(rng, 9_000 + number) | changes

    in_brooklyn = {"Court": "Supreme Court", "County": "Kings", "JudgmentNumber": ""}
    civil = odd(5, Court="NY CIVIL", County="New York", JudgmentNumber="")
    civil |= {"IndexNumber": "CV-009001-20NY", "FilingDate": "2020-02-11"}
    abroad = {"Court": "Los Angeles Superior", "County": "Los Angeles", "State": "CA"}
    twin = odd(7, **in_brooklyn, IndexNumber="512345/2021", FilingDate="2021-03-04")
    return [
        odd(1, **in_brooklyn, IndexNumber="700111/2019"),
        odd(2, Court="Supreme Court", County="Queens", IndexNumber="700111/2019"),
        odd(3, PlaintiffAddress="12 Quoted Row\nRear", DefendantName='Wes "Red" Harrowgate'),
        odd(4, PlaintiffName="Peña Márquez Imports Inc", DefendantName="José O’Brannigan Núñez"),
        civil,
        civil | {"IndexNumber": "CV-9001-20/NY"},
        twin,
        twin | {"JudgmentAmount": "$1,999.99"},
        odd(8, **abroad, IndexNumber="21STCV45678"),
        odd(9, Status="Closed"),
        odd(10, JudgmentAmount="$12,750,000.00"),
        odd(11, JudgmentDate="6/1/98", FilingDate="1997-11-03", EntryDate="06/04/1998"),
        odd(12, Email="bad-email", Phone="555-555-0003"),
        odd(13, DefendantName="Jessamy and Osric Kettlewood"),
        odd(14, DefendantName="Estate of Leocadia\u200b Mossgrave"),
        odd(15, CaseTitle='=HYPERLINK("https://vendor.example","open")'),
        odd(16, Court="", County="Orange", IndexNumber="EF2019-4411"),
        odd(17, IndexNumber="1-234/05", Court="Town of Islip Justice Court", County="Suffolk"),
        odd(18, DefendantName="Fenna Birchall; Gideon Birchall; Birchall Bakery LLC"),
        odd(19, DefendantName="Null Underbough", Phone="", Email="", CaseType="N/A"),
    ]  # fmt: skip


def bad_rows(rng: random.Random) -> list[Row]:
    """One row for each reason for which a row is rejected."""
    changes: list[Row] = [
        {"JudgmentAmount": BROKEN},
        {"JudgmentAmount": "1.234,50"},
        {"JudgmentAmount": "0.00"},
        {"JudgmentAmount": ""},
        {"JudgmentAmount": "(1,234.50)"},
        {"JudgmentAmount": "12500.005"},
        {"JudgmentAmount": "99999999999999.99"},
        {"JudgmentDate": "02/30/2024"},
        {"EntryDate": "12/31/2099"},
        {"JudgmentDate": "25/03/2023"},
        dict(zip(HEADER, HEADER, strict=True)),
        {"IndexNumber": ""},
        {"IndexNumber": "25-Jan"},
        {"IndexNumber": "2.02301E+11"},
        {"PlaintiffName": ""},
        {"DefendantName": "N/A"},
        {"Court": "Queens County Civil Court", "County": "Kings", "IndexNumber": "CV-77001-11"},
        {"Court": "Supreme Court", "County": "Kingz", "IndexNumber": "500400/2018"},
        {"State": "Nieuw York"},
    ]
    rows = [sound_row(rng, 8_000 + number) | change for number, change in enumerate(changes)]
    total = dict.fromkeys(HEADER, "") | {"LeadID": "TOTAL", "JudgmentAmount": "$9,876,543.21"}
    return [*rows, total]


def make_sample() -> bytes:
    """The whole file: UTF-8 with an order mark and CRLF, as Excel saves it."""
    rng = random.Random(20_260_315)
    rows = [sound_row(rng, number) for number in range(1, SOUND_ROWS + 1)]
    for odd in odd_rows(rng):
        rows.insert(rng.randrange(len(rows)), odd)
    *bad, total = bad_rows(rng)
    for row in bad:
        rows.insert(rng.randrange(20, len(rows)), row)
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows([*rows, total])
    return text.getvalue().replace(BROKEN, "$5,432.10").encode("utf-8-sig")


def sample_path() -> Path:
    """Where the bundled file lies."""
    return Path(str(resources.files("dragonfly.judgments").joinpath("data/simplicity_sample.csv")))


if __name__ == "__main__":
    sample_path().write_bytes(make_sample())
