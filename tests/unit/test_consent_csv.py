"""Consent as a CSV file: what a line says, and what is wrong with it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from connector.cli.consent_csv import header, line_of, read_consent
from connector.errors import Rejected
from connector.events import Recipient
from connector.recovery.consent import ExportedConsent

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HEAD = "phone,bsuid,hubspot_id,purpose,state,at,by_person,evidence\n"


def problem_of(line: str) -> str:
    (problem,) = read_consent(HEAD + line, who="olga", now=NOW).problems
    return problem.problem


def test_a_line_is_an_act_with_its_evidence() -> None:
    """Values may be quoted over several lines; letters' case in words does not matter; blank lines are none."""
    text = HEAD + '\n,US.1349,77,Marketing,GRANTED,2026-02-01T10:00:00+01:00,true,"form 7,\npage 2"\n\n'
    (act,) = read_consent(text, who="olga", now=NOW).acts
    assert act.to == Recipient(bsuid="US.1349", hubspot_id="77")
    assert (act.source, act.client, act.purpose, act.state) == ("import", "olga", "marketing", "granted")
    assert (act.at, act.by_person, act.evidence) == (
        datetime(2026, 2, 1, 9, tzinfo=UTC),
        True,
        "form 7,\npage 2",
    )


def test_the_same_act_has_the_same_id_wherever_it_stands() -> None:
    """However the phone is punctuated, the columns ordered and the time's offset written."""
    one = read_consent(HEAD + "+1 555-123-0000,,,utility,denied,2026-02-01T10:00:00Z,,", who="a", now=NOW)
    other = read_consent(
        "at;state;purpose;phone\n2026-02-01T11:00:00+01:00;denied;utility;15551230000\n", who="b", now=NOW
    )
    assert one.acts[0].event_id == other.acts[0].event_id


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(",,,utility,denied,2026-02-01T10:00:00Z,,", "at least one of phone", id="nobody"),
        pytest.param("12,,,utility,denied,2026-02-01T10:00:00Z,,", "phone must be", id="short phone"),
        pytest.param(
            "+9991234567890,,,utility,denied,2026-02-01T10:00:00Z,,", "no possible", id="no country"
        ),
        pytest.param("+15551230000,,,sales,denied,2026-02-01T10:00:00Z,,", "purpose must be", id="purpose"),
        pytest.param("+15551230000,,,utility,denied,01/02/2026,,", "at must be a time", id="time"),
        pytest.param("+15551230000,,,utility,denied,2026-04-01T10:00:00Z,,", "in the future", id="future"),
        pytest.param("+15551230000,,,utility,denied,2026-02-01T10:00:00Z,maybe,", "by_person", id="by whom"),
        pytest.param("+15551230000,,,utility,granted,2026-02-01T10:00:00Z,,", "evidence", id="no evidence"),
        pytest.param("+15551230000,,,utility", "state must be", id="cut off"),
        pytest.param("+15551230000,,,utility,denied,2026-02-01T10:00:00Z,,a,b", "9 values", id="too many"),
    ],
)
def test_a_wrong_line_says_what_is_valid(line: str, says: str) -> None:
    """One sentence a line, about the column."""
    assert says in problem_of(line)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "it is empty", id="empty"),
        pytest.param("telephone,purpose,state,at\n", "no column 'telephone'", id="unknown column"),
        pytest.param("phone,state,at\n", "purpose is missing", id="missing column"),
        pytest.param("purpose,state,at\n", "phone or bsuid", id="nobody named"),
        pytest.param("phone,phone,purpose,state,at\n", "there twice", id="twice"),
        pytest.param('phone,purpose,state,at\n"+1555', "Line 2 is no CSV", id="open quote"),
    ],
)
def test_a_file_without_the_columns_is_refused_whole(text: str, says: str) -> None:
    """No line of it is read as something that it is not."""
    with pytest.raises(Rejected, match=says):
        read_consent(text, who="olga", now=NOW)


@pytest.mark.parametrize("evidence", ["=1+1", "'=x", "+1", "plain", "'quoted'", "", 'a,"b"\nc'])
def test_an_export_is_read_back_as_it_was(evidence: str) -> None:
    """Evidence that a spreadsheet would take for a formula is guarded, and comes back without the guard."""
    consent = ExportedConsent(
        contact_id=UUID(int=1),
        phone="+15551230000",
        bsuid="US.1349",
        purpose="utility",
        state="denied",
        at=NOW,
        source="keyword",
        by_person=False,
        evidence=evidence,
    )
    line = line_of(consent)
    (act,) = read_consent(header() + line, who="olga", now=NOW).acts
    assert (act.evidence, act.to.phone, act.at) == (evidence, "+15551230000", NOW)
    assert not any(cell.startswith(("=", "@")) for cell in line.split(","))
