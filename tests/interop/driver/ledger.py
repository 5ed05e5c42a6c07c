"""What an exporter was told of its spans, against what is stored of them."""

import collections
import dataclasses
import json


@dataclasses.dataclass
class Ledger:
    """Spans by what became of them: 48 hexadecimal digits of trace id and span id."""

    delivered: set
    failed: set

    @classmethod
    def read(cls, path):
        delivered, failed = set(), set()
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                (delivered if entry["delivered"] else failed).update(entry["spans"])
        return cls(delivered, failed)


@dataclasses.dataclass
class Outcome:
    """One line of the table."""

    exporter: str
    interruption: str
    sent: int
    delivered: int
    stored: int
    # Reported as delivered and not stored: never allowed.
    missing: int
    # Stored more than once: never allowed.
    duplicates: int
    # Why it is a failure.
    faults: list
    # What is worth knowing and no failure.
    notes: list

    @classmethod
    def compare(cls, exporter, interruption, sent, ledger, rows):
        """`sent` spans were made, `ledger` tells what the exporter reported, `rows` are the spans stored."""
        times = collections.Counter(rows)
        stored = set(times)
        faults = [] if ledger.delivered else ["nothing was delivered"]
        notes = []
        unseen = sent - len(ledger.delivered) - len(ledger.failed)
        if unseen:
            notes.append(f"{unseen} spans ended without a word from the exporter")
        unknown = len(stored - ledger.delivered - ledger.failed)
        if unknown > unseen:
            faults.append(f"{unknown} spans are stored that it did not send")
        kept = len(stored & ledger.failed)
        if kept:
            notes.append(f"{kept} of the dropped are stored all the same")
        missing = ledger.delivered - stored
        if missing:
            faults.append(f"{len(missing)} delivered spans are not stored, such as {min(missing)}")
        twice = [span for span, count in times.items() if count > 1]
        if twice:
            faults.append(f"{len(twice)} spans are stored more than once, such as {min(twice)}")
        return cls(
            exporter=exporter,
            interruption=interruption,
            sent=sent,
            delivered=len(ledger.delivered),
            stored=len(stored),
            missing=len(missing),
            duplicates=len(rows) - len(stored),
            faults=faults,
            notes=notes,
        )

    @property
    def dropped(self):
        return self.sent - self.delivered

    @property
    def passed(self):
        return not self.faults


def table(outcomes):
    """The outcomes as a Markdown table, notes and faults below it."""
    heads = ["exporter", "pass", "sent", "delivered", "dropped by exporter", "stored", "missing", "duplicates"]
    rows = [
        [o.exporter, o.interruption, o.sent, o.delivered, o.dropped, o.stored, o.missing, o.duplicates] for o in outcomes
    ]
    cells = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for number, row in enumerate(cells):
        padded = [cell.ljust(w) if at < 2 else cell.rjust(w) for at, (cell, w) in enumerate(zip(row, widths))]
        lines.append(f"| {' | '.join(padded)} |")
        if number == 0:
            lines.append("|" + "|".join("-" * (w + 2) if at < 2 else "-" * (w + 1) + ":" for at, w in enumerate(widths)) + "|")
    for outcome in outcomes:
        where = f"{outcome.exporter}, {outcome.interruption}"
        lines += [f"note: {where}: {note}" for note in outcome.notes]
        lines += [f"FAILED: {where}: {fault}" for fault in outcome.faults]
    return "\n".join(lines)
