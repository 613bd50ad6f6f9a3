"""The devices of CPLR article 52 and the firm's own steps: statute, signature, order, groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Signature = Literal["none", "clerk", "attorney", "creditor"]


@dataclass(frozen=True, slots=True)
class Device:
    """What a kind of action rests on, who must sign it, and its place in the order of work."""

    name: str
    statute: tuple[str, ...]
    signature: Signature


# In order of work: duties of the creditor, what protects the judgment, what brings money, the rest.
_IN_ORDER = (
    Device("satisfaction_piece", ("CPLR 5020", "CPLR 5021"), "attorney"),
    Device("restraint_release", ("CPLR 5222",), "attorney"),
    Device("officer_notice", ("CPLR 5230", "CPLR 5231"), "none"),
    Device("refund", ("CPLR 5020",), "creditor"),
    Device("lien_renewal", ("CPLR 5014", "CPLR 5203"), "attorney"),
    Device("real_property_lien", ("CPLR 5018", "CPLR 5203"), "clerk"),
    Device("income_execution", ("CPLR 5231",), "attorney"),
    Device("restraining_notice", ("CPLR 5222",), "attorney"),
    Device("property_execution", ("CPLR 5230", "CPLR 5232"), "attorney"),
    Device("bank_levy", ("CPLR 5230", "CPLR 5232"), "attorney"),
    Device("information_subpoena", ("CPLR 5223", "CPLR 5224(a)(3)"), "attorney"),
    Device("demand_letter", ("15 USC 1692g",), "none"),
    Device("settlement_offer", (), "creditor"),
    Device("asset_search", (), "none"),
)

DEVICES: Mapping[str, Device] = MappingProxyType({device.name: device for device in _IN_ORDER})
RANK: Mapping[str, int] = MappingProxyType(
    {device.name: place for place, device in enumerate(_IN_ORDER)}
)

# What the creditor owes the debtor: no gate may stand before it.
DUTIES = frozenset({"satisfaction_piece", "restraint_release", "officer_notice", "refund"})
EVERYTHING = frozenset(DEVICES) - DUTIES
LEAVES_THE_HOUSE = EVERYTHING - {"asset_search"}
EXECUTIONS = frozenset({"income_execution", "property_execution", "bank_levy"})
RESTRAINTS = frozenset({"restraining_notice"})
LIENS = frozenset({"real_property_lien", "lien_renewal"})
CONTACTS = frozenset({"demand_letter", "settlement_offer"})
# What a small balance still pays for.
CHEAP = CONTACTS | {"information_subpoena", "real_property_lien"}
# What brings nothing within the last years of a judgment.
SLOW = frozenset({"settlement_offer", "real_property_lien"})
