"""A call whose time is over before it could leave."""

import pytest
from pydantic import SecretStr

from connector.crm.hubspot.client import HubSpotClient, _Request
from connector.crm.quota import Slot
from connector.errors import Transient
from connector.settings import HubSpotSettings


async def test_a_call_of_a_process_that_was_frozen_does_not_leave() -> None:
    """By then its caller has given it up and others may write its contacts; the address is one that nobody hears."""
    client = HubSpotClient(HubSpotSettings(access_token=SecretStr("t"), base_url="http://127.0.0.1:9"))
    request = _Request(method="POST", path="/x", body={}, writes=True, deadline=0.0)
    with pytest.raises(Transient, match="before it could be sent"):
        client._call(request, Slot())
    await client.close()
