"""Small teams that several files of this room play with."""

import pytest
import smac_lab


@pytest.fixture(scope="module")
def duel():
    """One stalker against one zealot, without terrain to speak of."""
    return smac_lab.field(["stalker"], ["zealot"])


@pytest.fixture(scope="module")
def marines():
    """Two marines against one zealot."""
    return smac_lab.field(["marine", "marine"], ["zealot"])


@pytest.fixture(scope="module")
def patrol():
    """Marine, marauder and medivac against marines far away."""
    return smac_lab.field(["marine", "marauder", "medivac"], ["marine", "marine", "marine"], medivac_rule=True)
