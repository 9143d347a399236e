"""What holds for every test of the repository."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file: started last, it would run alone while the other workers are done."""
    items.sort(key=lambda item: item.path.name != "test_killed_roles.py")
