"""The argument form of an EPCIS event: the fields of EPCIS 2.0 with typed values, whatever syntax they came in.

What differs from JSON-LD, and why: instants are milliseconds UTC (rounded half up, as the event hash wants them);
decimal numbers are text, because a channel has no floats; extension fields are rows in document order with their
depth, because an argument is no deeper than a channel allows. ``interchange/epcis.py`` makes this form of JSON-LD.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from dawan_node.execution.module import UNSET, Args, Meta, UnsetType

EventKind = Literal["ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent"]
Action = Literal["", "ADD", "OBSERVE", "DELETE"]

#: Each item an event moves is read and written with its custody: a hundred stay inside a fifth of the step budget.
ITEMS_MAX: Final = 100
#: References, dispositions and the like; no message met has ten.
ENTRIES_MAX: Final = 50
#: A day of readings each half hour in one event, of a few quantities; long series are ``record_samples``, not events.
#: Every report is spelled out for the hash, so all reports of an event together are bounded too.
SENSORS_MAX: Final = 50
REPORTS_MAX: Final = 20
REPORTS_IN_ALL_MAX: Final = 200
#: Extension fields of one event and how deep they nest.
ROWS_MAX: Final = 200
ROW_DEPTH_MAX: Final = 8
#: 9999-12-31T23:59:59.999Z less a day: the last instant whose date exists in every time zone.
TIME_MS_MAX: Final = 253_402_214_400_000

# An identifier is part of a state key of 256 bytes; a canonical Digital Link has at most 130. A URI is ASCII.
Uri = Annotated[str, Meta(min_length=1, max_length=160, pattern=r"^[!-~]+$")]
OptionalUri = Annotated[str, Meta(max_length=160, pattern=r"^[!-~]*$")]
Text = Annotated[str, Meta(max_length=200)]
Decimal = Annotated[str, Meta(max_length=40, pattern=r"^(?:[+-]?[0-9]+(?:\.[0-9]+)?)?$")]
EventTime = Annotated[int, Meta(ge=0, le=TIME_MS_MAX, extra_json_schema={"format": "instant-ms"})]
Offset = Annotated[str, Meta(pattern=r"^[+-](?:0[0-9]|1[0-4]):[0-5][0-9]$")]
Uris = Annotated[list[Uri], Meta(max_length=ITEMS_MAX)]


class Quantity(Args):
    """So much of a class of objects; without ``quantity`` an unknown amount, with ``uom`` a measured one."""

    epc_class: Uri
    quantity: Decimal = ""
    uom: Annotated[str, Meta(max_length=8)] = ""


class TypedReference(Args):
    """A business transaction, source or destination with its type, which may be absent for a transaction."""

    id: Uri
    type: OptionalUri = ""


class SensorReport(Args):
    """One reading or statistic; the fields of EPCIS 2.0 section 7.3.7.3."""

    type: OptionalUri = ""
    exception: OptionalUri = ""
    device_id: OptionalUri = ""
    device_metadata: OptionalUri = ""
    raw_data: OptionalUri = ""
    data_processing_method: OptionalUri = ""
    time_ms: EventTime | UnsetType = UNSET
    microorganism: OptionalUri = ""
    chemical_substance: OptionalUri = ""
    value: Decimal = ""
    component: OptionalUri = ""
    string_value: Text = ""
    boolean_value: Literal["", "true", "false"] = ""
    hex_binary_value: Text = ""
    uri_value: OptionalUri = ""
    min_value: Decimal = ""
    max_value: Decimal = ""
    mean_value: Decimal = ""
    s_dev: Decimal = ""
    perc_rank: Decimal = ""
    perc_value: Decimal = ""
    uom: Annotated[str, Meta(max_length=8)] = ""
    coordinate_reference_system: OptionalUri = ""


class SensorElement(Args):
    """The readings of one device at one time or in one interval."""

    reports: Annotated[list[SensorReport], Meta(max_length=REPORTS_MAX)]
    time_ms: EventTime | UnsetType = UNSET
    start_time_ms: EventTime | UnsetType = UNSET
    end_time_ms: EventTime | UnsetType = UNSET
    device_id: OptionalUri = ""
    device_metadata: OptionalUri = ""
    raw_data: OptionalUri = ""
    data_processing_method: OptionalUri = ""
    biz_rules: OptionalUri = ""


class Row(Args):
    """An extension field: its full name ``{namespace}name`` and its value, "" when it only has fields of its own.

    The rows below it, one deeper, follow it; a list is the same name repeated.
    """

    name: Annotated[str, Meta(min_length=4, max_length=160, pattern=r"^\{[^{}\s]+\}[^{}\s=]+$")]
    value: Text = ""
    depth: Annotated[int, Meta(ge=0, lt=ROW_DEPTH_MAX)] = 0


class EventForm(Args):
    """One EPCIS event. Which lists a kind may have is checked when it is captured (``E_EVENT_FORM``)."""

    kind: EventKind
    time_ms: EventTime
    offset: Offset
    certification: Annotated[list[Uri], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012 - msgspec copies it
    action: Action = ""
    epcs: Uris = []  # noqa: RUF012
    quantities: Annotated[list[Quantity], Meta(max_length=ITEMS_MAX)] = []  # noqa: RUF012
    parent: OptionalUri = ""
    children: Uris = []  # noqa: RUF012
    child_quantities: Annotated[list[Quantity], Meta(max_length=ITEMS_MAX)] = []  # noqa: RUF012
    inputs: Uris = []  # noqa: RUF012
    input_quantities: Annotated[list[Quantity], Meta(max_length=ITEMS_MAX)] = []  # noqa: RUF012
    outputs: Uris = []  # noqa: RUF012
    output_quantities: Annotated[list[Quantity], Meta(max_length=ITEMS_MAX)] = []  # noqa: RUF012
    transformation: OptionalUri = ""
    biz_step: OptionalUri = ""
    disposition: OptionalUri = ""
    persistent_set: Annotated[list[Uri], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012
    persistent_unset: Annotated[list[Uri], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012
    read_point: OptionalUri = ""
    biz_location: OptionalUri = ""
    biz_transactions: Annotated[list[TypedReference], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012
    sources: Annotated[list[TypedReference], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012
    destinations: Annotated[list[TypedReference], Meta(max_length=ENTRIES_MAX)] = []  # noqa: RUF012
    sensors: Annotated[list[SensorElement], Meta(max_length=SENSORS_MAX)] = []  # noqa: RUF012
    ilmd: Annotated[list[Row], Meta(max_length=ROWS_MAX)] = []  # noqa: RUF012
    extensions: Annotated[list[Row], Meta(max_length=ROWS_MAX)] = []  # noqa: RUF012
