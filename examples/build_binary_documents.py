# /// script
# requires-python = ">=3.11"
# dependencies = ["fpdf2>=2.8", "python-docx>=1.1"]
# ///
"""Write the PDF and DOCX documents of the sample handbook.

The sources are the short texts below, in a tiny markup: ``# title``, ``## heading``,
``- item``, ``| cell | cell |`` for a table row (the first row of a table is its header),
and paragraphs separated by blank lines. The output carries fixed dates, so the same
versions of the two libraries write the same bytes again. Run it with::

    uv run examples/build_binary_documents.py
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

FIXED_DATE = datetime.fromisoformat("2025-05-01T09:00:00+00:00")
AUTHOR = "Brackwater Instruments"

SECURITY_INCIDENT_RESPONSE = """
# Security incident response plan

Document IT-P-07, version 4, effective 1 March 2025. Class: Internal. Owner: head of security.
This plan covers attacks, malware, leaked secrets, lost devices with company data, manipulation
of products and any other event that endangers confidentiality, integrity or availability. Pure
outages without an attacker are handled by the on-call process of engineering.

## 1. Reporting

Every employee reports a suspicion at once to the emergency line 4049 or, if that is impossible,
in person to any member of the security team. Do not use e-mail when you think that mail itself
may be read by somebody else. The line is answered within five minutes at any hour.

Customers and researchers report weaknesses to lookout@brackwater.example. They receive an
answer within two working days, and we do not take legal steps against people who act in good
faith and give us 90 days before they publish.

## 2. Classes

| Class | Description | Example | Lead |
| S1 | Attack on production, products or keys | Manipulated firmware image | Head of security |
| S2 | Attack on office systems with spread | Ransomware on several laptops | Security engineer |
| S3 | Single account or device | Passphrase entered on a false page | Security engineer |
| S4 | Attempt without effect | Blocked message | Service desk |

S1 and S2 activate the crisis team: head of security, head of platform, legal, communications and
the chief executive. It meets in room Whernside or in the bridge call whose number is printed on
the red card that each member carries. The bridge does not depend on our own network.

## 3. First hour

The lead opens a log on paper or in a document outside the affected systems. Each entry has a
time, an author and a fact; opinions are marked as such.

- Isolate affected devices from the network. Do not switch them off, memory is evidence.
- Revoke sessions and keys of affected accounts.
- Decide whether to freeze deployments (command: capstan freeze --reason security).
- Save the logs of the last 30 days before they rotate away.
- Tell nobody outside the team until communications has prepared a text.

For S1 the signing hardware in Leeds is locked in the safe and the firmware rollout is paused for
all gateways. Both steps can be ordered by the lead alone.

## 4. Investigation

The investigation answers four questions: how did they get in, what did they touch, what did they
take, are they still there. The external forensic partner is under contract with a reaction time
of four hours on site in Leeds and Hamburg and of one working day in Lisbon. Only the head of
security and the legal team may call the partner, since each call costs at least GBP 6,500.

Disk images are stored twice, on encrypted drives with numbers, and each change of hands is
recorded on form IT-21. Evidence is kept for two years after the end of the matter.

## 5. Ransom

The company does not pay ransoms. An exception would need a unanimous decision of the board after
consulting the police and the insurer. Nobody negotiates or answers a message of the attackers
without the crisis team.

## 6. Telling others

| Whom | When | By whom |
| Supervisory authority for data protection | within 72 hours if people are at risk | Privacy team |
| Cyber insurer | within 24 hours for S1 and S2 | Finance director |
| Affected customers | within 48 hours after confirmation | Communications and support |
| Police | as decided by legal | Legal team |
| Employees | as soon as instructions are needed | Communications |

Contracts of Summit customers in health care contain a shorter period of 24 hours. The list is in
the Secret vault under the name notification-matrix.

## 7. Recovery

Systems are rebuilt from known sources, not cleaned. The order is: identity, network, Lockbox,
Scree production, support tools, finance, everything else. Passphrases of all employees are
renewed if the directory was reached by the attacker; the service desk plans eleven hours for
this in Leeds and five in Hamburg, at counters in the canteen.

Backups of Scree are kept in a separate account that production cannot delete. The last exercise
showed that the complete platform can be rebuilt there in 31 hours.

## 8. Afterwards

A review takes place within ten working days. It names causes and measures but no culprits.
Measures have an owner and a date and are followed up by the security board each month.

Two exercises are held every year: one around a table in spring and one with real systems in
autumn, in the weeks after the calibration audit. At least one exercise each year begins outside
working hours.

## 9. Contact card

| Function | Reachable |
| Emergency line | 4049, from outside +44 113 555 4049 |
| Head of security | through 4049 only |
| Legal team | extension 4600 |
| Communications | press@brackwater.example |
| Cyber insurer | contract number CY-22817 |
"""

WARRANTY = """
# Warranty and returns

Document BW-M-130, revision E, valid for purchases from 1 January 2025.

## 1. Duration

Pika sensors carry a warranty of 36 months from the date of delivery, Talus gateways one of 24
months. With a running Summit subscription the warranty of a gateway is extended to 60 months.
Probes and accessories carry 12 months. Lithium cells are covered only if they are empty on
arrival, which must be reported within 30 days.

## 2. What is covered

Faults in material and workmanship. We repair or exchange at our choice; exchanged devices may be
refurbished and carry the remaining time, at least six months. Shipping is paid by us in both
directions within the countries of list A.

## 3. What is not covered

- Damage by force, chemicals, fire or lightning.
- Water in a P2-H or P2-X that was immersed.
- Opened housings with a broken seal.
- Cells of another type than ER14505.
- Loss of goods. Our liability for spoiled goods is limited to GBP 25,000 per event, and it
presupposes that an alarm test was recorded within the last twelve months.

## 4. How to return a device

Open a case in Scree under Support, Returns, or write to returns@brackwater.example. You receive
form BW-R-03 with a number that begins with RMA. Write it on the parcel; parcels without a number
wait for ten working days in a cage until somebody has time to guess.

Remove cells from faulty sensors before shipping and tape the contacts. Damaged cells must not be
sent at all: ask us for a special box, which arrives within four working days.

| Step | Time |
| Confirmation of the case | 1 working day |
| Advance exchange for Summit | shipped on the same day before 15:00 |
| Examination in Leeds | 5 working days after arrival |
| Repair or exchange | 10 working days after arrival |
| Report about the cause, on request | 20 working days after arrival |

## 5. Returning new goods

Unused goods in the original box are taken back within 30 days, minus a restocking fee of 12 % for
more than ten pieces. Starter kits may be returned within 45 days free of charge. Sensors with an
individual accredited certificate cannot be returned.

## 6. Repairs after the warranty

A fixed price applies: GBP 39 for a P2 or P2-H, GBP 68 for a P2-X, GBP 145 for a Talus. The repair
carries six months of warranty. If a repair is not sensible we offer a new device with a discount
of 20 % and recycle the old one.
"""

CALIBRATION_GUIDE = """
# Calibration guide

Document BW-M-140, revision D, April 2025. For quality managers and laboratories.

## 1. Why and how often

Electronic sensors drift. A Pika P2 drifts by less than 0.05 degrees per year in normal use, the
humidity element of the P2-H by about 0.8 % per year. We recommend the following intervals; your
own risk assessment may lead to shorter ones.

| Model | Interval | Points of the standard certificate |
| Pika P2 | 24 months | -20, 5 and 37 °C |
| Pika P2-H | 12 months | 23 °C with 30, 50 and 75 % RH |
| Pika P2-X with BW-P-085 | 24 months | -75, -20 and 5 °C |
| Pika P2-X with BW-P-196 | 24 months | -190, -80 and 20 °C |

A sensor that was dropped from more than one metre, exposed to temperatures outside its range or
treated with hydrogen peroxide more than 50 times should be checked before the end of the interval.

## 2. Exchange calibration

The simplest way. Order SV-CAL; we send a calibrated sensor of the same model. Put it next to the
old one for two hours, compare, then choose Replace in Scree. Return the old sensor in the same
box within 21 days, otherwise it is charged. In the second week of August 2025 no exchanges are
shipped because the laboratory moves.

## 3. On-site calibration

Our field service brings a dry block and a reference with an uncertainty of 0.02 degrees. Up to 25
sensors are possible per day. We need a table, a socket and a room between 18 and 28 °C. The
appointment is made about five weeks ahead. Certificates are in Scree on the following day.

## 4. Doing it yourself

- Use a reference with a valid certificate and an uncertainty of at most one third of the accepted
deviation.
- Prepare a stirred bath, or an ice point from crushed ice of distilled water.
- Put the sensor into a thin bag, press out the air, and immerse it to at least 8 cm.
- Wait 25 minutes, then take ten readings at an interval of one minute.
- Enter mean, reference and uncertainty in Scree under Calibration, Own certificate.

Corrections are accepted up to 1.0 degree. A larger deviation means that the sensor is faulty and
is covered by the warranty. Corrections apply to future readings only; history is never rewritten.

## 5. Reading the certificate

The certificate shows the deviation and its expanded uncertainty with a coverage factor of 2. A
sensor passes when the absolute deviation plus the uncertainty is smaller than the accuracy in the
specifications. If the result lies in between, the certificate says conditional, and you decide.

## 6. Traceability

The references of the Leeds laboratory are compared every year with those of the national institute
and every quarter with each other. Raw data are kept for 15 years.
"""

PERFORMANCE_REVIEWS = """
# Performance and development reviews

Version 2.3, valid from the spring cycle 2025. Owner: People team.

## Two cycles a year

Conversations take place in March and in September. The spring conversation looks at results and
pay, the autumn one at development. Each lasts 60 to 90 minutes, and both sides prepare one page.

## Feedback from colleagues

You name three to five colleagues, your manager may add two. They answer three questions in
Harbour within ten days. The answers are shown to you without names, unless the author ticks the
box to be named.

## Rating

| Rating | Meaning | Bonus factor | Expected share |
| Growing | Some expectations are not met yet | 0.5 | 10 % |
| Solid | Expectations are met | 1.0 | 60 % |
| Strong | Expectations are often exceeded | 1.25 | 25 % |
| Outstanding | Made a difference beyond the own team | 1.6 | 5 % |

The shares are an expectation for the whole company, not a quota for a team. People who joined
after 30 September are not rated in the following spring; their bonus factor is 1.0.

## Calibration of ratings

Managers of a department compare their proposals in a meeting in the second half of March. A People
partner moderates. Ratings may change in this meeting, and the manager must explain the change.

## Objectives

Three to five objectives, written so that a third person could tell whether they were reached. At
least one of them concerns learning. Objectives can be changed at any time if the world has
changed; objectives that were changed after the fact do not count.

## When the rating is Growing

Manager and employee write an improvement plan with form HR-26: at most three goals, twelve weeks,
a meeting every second week. The People partner takes part in the first and in the last meeting. If
the plan succeeds it is removed from the file after one year.

## Disagreement

Write a comment in Harbour within 15 working days. You may ask for a second conversation with the
next manager up. In Hamburg you may bring a member of the works council.

## Pay

Salary changes take effect on 1 April and are announced by 20 March. They depend on the position in
the pay band and on the rating. Someone below the middle of the band grows faster.
"""

CORPORATE_CARD = """
# Corporate card

Finance operations, version 1.8, January 2025.

## Who gets one

Everybody who travels more than four times a year or buys for a team. Apply in Purser; the card
arrives within seven working days by post, the PIN separately. Apprentices and people in probation
share a team card that is kept by the team lead.

## Limits

| Card type | Single purchase | Per month |
| Traveller | GBP 750 | GBP 3,000 |
| Team | GBP 500 | GBP 2,500 |
| Buyer | GBP 2,500 | GBP 12,000 |
| Director | GBP 2,500 | GBP 10,000 |

A temporary increase is possible for a fair or a workshop. Ask two working days ahead in Purser
with the reason; finance operations answers on the same day.

## Rules

The card is for business purposes only. If you use it privately by mistake, tell finance operations
within three days and transfer the amount. Cash withdrawals are blocked, except in Japan, where up
to JPY 30,000 per trip are allowed because small restaurants demand it.

Upload each receipt within ten days. After three missing receipts the card is paused automatically
until they have been delivered.

Do not store the card number in a browser or in web shops. Use the virtual numbers of the app: one
number for each supplier, each with its own limit.

## Loss and fraud

Block the card at once in the app, or by calling the number on the back of your badge, then write to
cards@brackwater.example. Unknown transactions must be disputed within 60 days, otherwise the bank
does not refund them.

## Leaving

The card is cut up in front of a witness from finance operations or sent back in two pieces. Open
items are deducted from the last salary.
"""

CONTRACTS = """
# Contracts and confidentiality agreements

Legal team, version 5.0, February 2025. How to get something signed without tears.

## Who may sign

Nobody signs alone. Contracts up to GBP 50,000 are signed by a head of department and a member of
the finance team; above that by two directors, of whom one is the chief financial officer. Contracts
with a term of more than three years always need two directors, whatever the value.

Signatures are made electronically in the tool Quill. Paper is used only for property, for
guarantees and for German employment contracts with a fixed term.

## Confidentiality agreements

Use our mutual template LEG-02. If the other side accepts it without changes, any team lead may sign
it and nobody needs to ask us. It lasts for three years plus five years of secrecy afterwards.

| Situation | Template | Time at legal |
| Both sides disclose, no changes | LEG-02 | none |
| Only the other side discloses | LEG-03 | none |
| Changes to our template | LEG-02 with comments | 3 working days |
| Paper of the other side | none | 7 working days |

For a first conversation at a fair no agreement is needed as long as you talk about things that
are published.

## Customer contracts

The general terms apply if the offer refers to them. Deviations that support and sales hear often:

- Liability: at most the fees of twelve months. Higher sums need the chief financial officer.
- Penalties for late delivery: up to 0.5 % per week and 5 % in total.
- Service level: 99.8 % per month for Ridge and 99.9 % for Summit, credit of 5 % of the monthly fee
for each started 0.1 % below.
- Audit rights: once a year with 30 days notice, two days, on site in Leeds.

## Data processing agreement

Every customer of Scree receives it automatically with the order as annex B. Own forms of customers
are checked by the privacy team and take about fifteen working days, so ask early in a tender. The
sub-processors are published, and a new one is announced 30 days before it starts.

## Filing

Signed contracts are stored in Manifest within two working days, with the end date and the notice
period. Manifest sends a reminder 120 days before the notice period begins. They are kept for seven
years after the end of the contract.
"""


@dataclass(frozen=True)
class Block:
    """One piece of a document: a heading, a paragraph, a list item or a whole table."""

    kind: str
    text: str = ""
    rows: list[list[str]] = field(default_factory=list)


def parse(source: str) -> Iterator[Block]:
    """Yield the blocks of a source text in reading order."""
    kind = ""
    words: list[str] = []
    rows: list[list[str]] = []

    def flush() -> Iterator[Block]:
        nonlocal kind
        if kind == "table":
            yield Block("table", rows=[list(row) for row in rows])
        elif kind:
            yield Block(kind, " ".join(words))
        kind = ""
        words.clear()
        rows.clear()

    for raw in source.strip().splitlines():
        line = raw.strip()
        if not line:
            yield from flush()
        elif line.startswith("|"):
            if kind != "table":
                yield from flush()
                kind = "table"
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif line.startswith(("# ", "## ", "- ")):
            yield from flush()
            marker, text = line.split(" ", 1)
            kind = {"#": "title", "##": "heading", "-": "item"}[marker]
            words.append(text)
        else:
            kind = kind or "paragraph"
            words.append(line)
    yield from flush()


def render_pdf(source: str) -> bytes:
    """Return the document as a PDF with a running header and page numbers."""
    from fpdf import FPDF
    from fpdf.enums import Align
    from fpdf.fonts import FontFace

    blocks = list(parse(source))
    title = next(block.text for block in blocks if block.kind == "title")

    class Pages(FPDF):
        def header(self) -> None:
            if self.page_no() > 1:
                self.set_font("helvetica", size=8)
                self.cell(0, 6, f"{AUTHOR} - {title}", align=Align.R)
                self.ln(10)

        def footer(self) -> None:
            self.set_y(-14)
            self.set_font("helvetica", size=8)
            self.cell(0, 6, f"Page {self.page_no()} of {{nb}}", align=Align.C)

    pdf = Pages(format="A4")
    pdf.set_creation_date(FIXED_DATE)
    pdf.set_title(title)
    pdf.set_author(AUTHOR)
    pdf.set_lang("en")
    pdf.set_auto_page_break(auto=True, margin=20)
    pdf.add_page()
    for block in blocks:
        if block.kind == "title":
            pdf.set_font("helvetica", style="B", size=18)
            pdf.multi_cell(0, 9, block.text, align=Align.L, new_x="LMARGIN", new_y="NEXT")
            pdf.ln(2)
        elif block.kind == "heading":
            pdf.ln(2)
            pdf.set_font("helvetica", style="B", size=14)
            pdf.multi_cell(0, 8, block.text, align=Align.L, new_x="LMARGIN", new_y="NEXT")
        elif block.kind == "table":
            pdf.set_font("helvetica", size=10)
            with pdf.table(
                text_align=Align.L, line_height=5, headings_style=FontFace(emphasis="BOLD")
            ) as table:
                for row in block.rows:
                    table.row(row)
            pdf.ln(3)
        else:
            pdf.set_font("helvetica", size=12)
            text = f"\u00b7 {block.text}" if block.kind == "item" else block.text
            pdf.multi_cell(0, 6.5, text, align=Align.L, new_x="LMARGIN", new_y="NEXT")
            pdf.ln(1 if block.kind == "item" else 2.5)
    return bytes(pdf.output())


def render_docx(source: str) -> bytes:
    """Return the document as a Word file with real headings, lists and tables."""
    from docx import Document

    document = Document()
    properties = document.core_properties
    properties.author = properties.last_modified_by = AUTHOR
    properties.created = properties.modified = FIXED_DATE.replace(tzinfo=None)
    properties.comments = ""
    for block in parse(source):
        if block.kind == "title":
            properties.title = block.text
            document.add_heading(block.text, level=1)
        elif block.kind == "heading":
            document.add_heading(block.text, level=2)
        elif block.kind == "item":
            document.add_paragraph(block.text, style="List Bullet")
        elif block.kind == "table":
            table = document.add_table(rows=0, cols=len(block.rows[0]), style="Table Grid")
            for number, row in enumerate(block.rows):
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    run = cell.paragraphs[0].add_run(text)
                    run.bold = number == 0
            document.add_paragraph()
        else:
            document.add_paragraph(block.text)
    buffer = io.BytesIO()
    document.save(buffer)
    return with_fixed_times(buffer.getvalue())


def with_fixed_times(archive: bytes) -> bytes:
    """Return the same ZIP archive with the clock of this machine taken out of it."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            info = zipfile.ZipInfo(name, date_time=FIXED_DATE.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, old.read(name))
    return target.getvalue()


DOCUMENTS = {
    "it/security-incident-response.pdf": SECURITY_INCIDENT_RESPONSE,
    "product/warranty-and-returns.pdf": WARRANTY,
    "product/calibration-guide.pdf": CALIBRATION_GUIDE,
    "hr/performance-reviews.docx": PERFORMANCE_REVIEWS,
    "finance/corporate-card.docx": CORPORATE_CARD,
    "legal/contracts-and-ndas.docx": CONTRACTS,
}


def main() -> None:
    """Write every document below the handbook folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--handbook", type=Path, default=Path(__file__).resolve().parent / "handbook"
    )
    handbook: Path = parser.parse_args().handbook
    for name, source in DOCUMENTS.items():
        target = handbook / name
        target.parent.mkdir(parents=True, exist_ok=True)
        render = render_pdf if target.suffix == ".pdf" else render_docx
        target.write_bytes(render(source))
        print(f"{name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
