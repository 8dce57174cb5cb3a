"""The life of an item, a shipment and a customs declaration: which command leads from which state to which."""

from __future__ import annotations

from dawan_node.modules.logistics.declaration import module
from dawan_node.modules.logistics.entities import Declaration, Item, Shipment

module.state_machine(
    Item,
    "state",
    {
        "capture_event": ("-> ACTIVE", "ACTIVE -> CONSUMED, GONE"),
        # What the event did was not so.
        "declare_error": ("ACTIVE -> GONE", "CONSUMED, GONE -> ACTIVE"),
    },
)

module.state_machine(
    Shipment,
    "state",
    {
        "book_shipment": "-> BOOKED",
        "cancel_shipment": "BOOKED -> CANCELLED",
        "state_milestone": (
            "BOOKED -> GATED_IN",
            "GATED_IN, DISCHARGED -> LOADED",
            "LOADED, ARRIVED -> DEPARTED",
            "DEPARTED -> ARRIVED",
            "ARRIVED -> DISCHARGED, RELEASED",
            "RELEASED -> GATED_OUT",
        ),
        "retract_milestone": (
            "GATED_IN -> BOOKED",
            "LOADED -> GATED_IN, DISCHARGED",
            "DEPARTED -> LOADED, ARRIVED",
            "ARRIVED -> DEPARTED",
            "DISCHARGED, RELEASED -> ARRIVED",
            "GATED_OUT -> RELEASED, DISCHARGED",
        ),
        # At the place of discharge a shipment is RELEASED exactly while every import declaration that counts is.
        "release_declaration": "DISCHARGED -> RELEASED",
        "cancel_declaration": "DISCHARGED -> RELEASED",
        "lodge_declaration": "RELEASED -> DISCHARGED",
        "seize_declaration": "RELEASED -> DISCHARGED",
        "deliver": "GATED_OUT -> DELIVERED",
    },
)

module.state_machine(
    Declaration,
    "state",
    {
        "draft_declaration": "-> DRAFT",
        "lodge_declaration": "DRAFT -> LODGED",
        "amend_declaration": "LODGED, ACCEPTED -> AMENDED",
        "cancel_declaration": "DRAFT, LODGED, AMENDED, ACCEPTED -> CANCELLED",
        "accept_declaration": "LODGED, AMENDED -> ACCEPTED",
        "examine_declaration": "ACCEPTED, SCAN -> SCAN, INSPECT",
        "assess_duty": "ACCEPTED, SCAN, INSPECT -> TAX_DUE",
        "release_declaration": "TAX_DUE -> RELEASED",
        "close_declaration": "RELEASED -> CLOSED",
        "seize_declaration": "LODGED, AMENDED, ACCEPTED, SCAN, INSPECT, TAX_DUE, RELEASED -> SEIZED",
    },
)
