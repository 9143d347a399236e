"""Ids of 15 and 18 characters, and a login that does not say where the org is."""

from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import pytest
import requests
from pydantic import SecretStr
from sandbox_org import key_pair

from connector.crm.port import Terms
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contact_search import ContactSearch
from connector.crm.salesforce.contacts import living
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.login import Login
from connector.crm.salesforce.successors import successors_of_records
from connector.errors import Terminal
from connector.settings import SalesforceSettings

SHORT, LONG = "003A000000Xyz12", "003A000000Xyz12IAC"


class Org:
    """One living contact, whose id comes as `shown`, whatever form it was asked for in."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def under(self, _: Terms) -> Self:
        return self

    async def call(
        self, _: str, path: str, *, params: Mapping[str, str] | None = None, writes: bool
    ) -> dict[str, Any]:
        if params is None:
            return {"fields": []}
        return {"records": [{"Id": self._shown, "IsDeleted": False, "Name": "Ana"}], "done": True}

    @property
    def client(self) -> SalesforceClient:
        return cast("SalesforceClient", self)


@pytest.mark.parametrize(("asked", "shown"), [(SHORT, LONG), (LONG, SHORT), (LONG, LONG)])
async def test_a_record_is_known_again_under_either_form_of_its_id(asked: str, shown: str) -> None:
    """Nobody is taken for gone because an answer shows the other form."""
    client = Org(shown).client
    assert await living(client, [asked]) == {asked}
    assert (await successors_of_records(client, [asked]))[asked].record_id == asked
    [found] = await ContactSearch(client, "Contact").fetch([asked])
    assert found is not None
    assert found.record_id == shown


def test_only_the_long_form_is_cut() -> None:
    """An id of another length is compared as it is."""
    assert bare(LONG) == bare(SHORT) == SHORT
    assert bare("003-of-another-form-1") != bare("003-of-another-form-2")


class Answers:
    """The token endpoint, as far as a session shows it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.status_code = 200

    def post(self, *_: object, **__: object) -> Self:
        return self

    def json(self) -> Mapping[str, Any]:
        return self._document


@pytest.fixture
def instance() -> Callable[..., str]:
    def opened(document: Mapping[str, Any], **settings: Any) -> str:
        secrets = {"consumer_key": SecretStr("key"), "consumer_secret": SecretStr("secret")}
        login = Login(SalesforceSettings.model_validate({**secrets, **settings}))
        session = cast("requests.Session", Answers({"access_token": "t", **document}))
        return login.open(session, timeout=(1.0, 1.0)).instance_url

    return opened


@pytest.mark.parametrize(
    ("document", "settings", "url"),
    [
        pytest.param(
            {"instance_url": "https://acme.my.salesforce.com"},
            {"domain": "acme.my"},
            "https://acme.my.salesforce.com",
            id="told",
        ),
        pytest.param({}, {"base_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9", id="base url"),
        pytest.param({}, {"domain": "acme.my"}, "https://acme.my.salesforce.com", id="my domain"),
    ],
)
def test_the_org_is_where_the_login_was_unless_it_says_otherwise(
    instance: Callable[..., str], document: Mapping[str, Any], settings: Mapping[str, Any], url: str
) -> None:
    """An answer without `instance_url` keeps nobody waiting."""
    assert instance(document, **settings) == url


def test_a_login_host_of_all_orgs_that_names_no_org_stops_the_line(
    instance: Callable[..., str], tmp_path: Any
) -> None:
    """Only the setting can tell then, and it is named."""
    pem = tmp_path / "key.pem"
    pem.write_text(key_pair()[0])
    with pytest.raises(Terminal) as raised:
        instance({}, domain="login", username="u@acme.com", private_key_file=pem)
    assert "CONNECTOR_SALESFORCE__DOMAIN" in raised.value.advice
