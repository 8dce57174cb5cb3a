"""The title module's public face: its events, its error table, its version.

Reasons are API: a client branches on them, and a reason keeps its meaning for ever. What the kernel refuses comes with
the kernel's reasons (``E_LOCKED``, ``E_ASSET_FROZEN``), what governance refuses with governance's.
"""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import Event, Module
from dawan_node.modules.title import entities


class TitleDrafted(Event):
    title: str


class DraftApproved(Event):
    title: str


class TitleIssued(Event):
    title: str
    holder: str
    replaces: str


class TitleTransferred(Event):
    title: str
    from_holder: str
    to_holder: str


class TransferRejected(Event):
    title: str
    by: str
    back_to: str


class TitleEndorsed(Event):
    """``to`` is empty for an endorsement in blank."""

    title: str
    kind: entities.Endorsement
    to: str


class EndorseeNominated(Event):
    title: str
    nominee: str


class TitleSigned(Event):
    title: str
    by: str


class TitlePledged(Event):
    title: str
    pledgee: str
    matures: str


class PledgeReleased(Event):
    title: str
    pledgee: str


class PledgeEnforced(Event):
    title: str
    pledgee: str


class SurrenderRequested(Event):
    title: str
    purpose: Literal["DELIVERY", "AMENDMENT"]
    reason: entities.Reason


class SurrenderAccepted(Event):
    title: str
    state: entities.State


class SurrenderRejected(Event):
    title: str
    back_to: str
    why: str


class SurrenderWithdrawn(Event):
    """The carrier did not answer in time: ``title``, a new version where it had accepted, is its requester's again."""

    title: str
    back_to: str


class TitleSucceeded(Event):
    """``revoked``: whose place it was; an organisation that left revoked nobody, its identities act no more."""

    title: str
    revoked: str
    to: str


class SuccessionOrdered(Event):
    """``until``: the last day for others to turn to a court."""

    title: str
    order: str
    former: str
    heir: str
    until: str


class SuccessionRecalled(Event):
    title: str
    order: str


class TitleVoided(Event):
    title: str
    replaced_by: str


class TitleSwitched(Event):
    """The electronic record ended and paper began, or the other way round."""

    title: str
    to_medium: entities.Medium
    paper: str


class EnvelopeAnswered(Event):
    """The two answers that are no refusals; the other five are reasons of refused transactions."""

    answer: Literal["RECE", "DUPE"]
    title: str
    last_entry: bytes


class CarrierEnrolled(Event):
    code: str
    org: str


class PlatformEnrolled(Event):
    code: str
    agent: str


ERRORS: Final = {
    # Names and parties
    "E_REFERENCE": "A transport document reference has 1 to 20 letters, digits and hyphens, beginning with no hyphen.",
    "E_CARRIER_CODE": "A carrier is SMDG- or NMFTA- and 2 to 4 letters or digits.",
    "E_PLATFORM_CODE": "A platform's code has 2 to 5 capital letters and is not this network's own.",
    "E_KEY": "The public key is none that may be registered.",
    "E_UNKNOWN_CARRIER": "No carrier of that code is enrolled on this channel.",
    "E_UNKNOWN_ORG": "No active organisation of that name is on this channel.",
    "E_UNKNOWN_PARTY": "No active identity of that name is enrolled on this channel.",
    "E_PARTY_ROLE": "The party has no role in which it may have the title.",
    "E_SELF": "The party is the sender itself.",
    "E_UNKNOWN_CHANGE": "No carrier or platform of that proposal was put to the vote.",
    "E_IN_USE": "The identity stands for another platform already.",
    # The document
    "E_WAYBILL": "A sea waybill is no document of title: nobody needs it to take delivery.",
    "E_PORT": "A port is a UN/LOCODE of five characters.",
    "E_VESSEL": "The ship has no IMO number with a right check digit.",
    "E_VOYAGE": "A voyage number has at most 50 printable ASCII characters.",
    "E_CONTAINER": "A container number is not of the form of ISO 6346, has a wrong check digit, or is there twice.",
    "E_CONTAINER_TYPE": "A container type has four capital letters and digits.",
    "E_DATE": "No such day exists.",
    "E_CONSIGNEE": "A straight bill names a consignee on this channel who is not the shipper.",
    "E_NOT_SHIPPED": "The goods are not on board yet.",
    "E_CHECKSUM": "The document is another one than the one under this checksum.",
    # Control
    "E_DUP_TITLE": "There is such a title already.",
    "E_UNKNOWN_TITLE": "There is no such title.",
    "E_STATE": "The title is in a state in which this is not possible.",
    "E_PAPER": "The title became paper; no electronic record lives.",
    "E_NOT_CARRIER": "Only the issuing carrier's organisation may do this.",
    "E_NOT_SHIPPER": "Only the shipper named on the draft may approve it.",
    "E_NOT_HOLDER": "The sender does not hold the title.",
    "E_NOT_ENDORSEE": "The sender has not the right that the title stands for.",
    "E_STRAIGHT": "A straight bill is not endorsed or pledged, and passes between shipper and consignee only.",
    "E_NO_FURTHER_ENDORSEMENT": "The last endorsement named a party and allows no further one.",
    "E_RECIPIENT": "An endorsement in blank names nobody, every other one a party.",
    "E_IS_HOLDER": "The sender holds the title itself and endorses it.",
    "E_NOT_NOMINATED": "This party is not nominated.",
    "E_NOT_RETURNABLE": "There is no transfer that the sender may refuse.",
    "E_NOT_PLEDGEE": "The title is not pledged to the sender.",
    "E_MATURITY": "The maturity is no day from today on, or is more than 335 days away.",
    "E_NOT_DUE": "The pledge is not overdue.",
    "E_NOT_BOUND": "The title is not bound to this process, or no longer.",
    "E_MOVED_ON": "Something happened to the title since it was reserved: the reservation passes it to nobody now.",
    "E_NO_LIGHT_CLIENT": "This channel believes no other channel: it does not run the module light_client.",
    "E_NOT_REQUESTER": "The title was surrendered by somebody else.",
    "E_ANSWER_TIME": "The carrier still has time to answer the surrender, or to issue the amended bill.",
    "E_OTHER_ORG": "The identity is of another organisation than the sender's.",
    "E_NOT_REVOKED": "The identity is active and acts for itself.",
    "E_NO_PART": "The identity neither has the title, nor surrendered it, nor has the right to it or a pledge of it.",
    "E_NOT_DEPARTED": "The identity's organisation is on this channel still, and names a successor itself.",
    "E_OWN_MATTER": "A court decides nothing in favour of its own organisation.",
    "E_DUP_ORDER": "The order is recorded for this title already, or another one about the same party stands.",
    "E_NO_ORDER": "No such order about this title stands.",
    "E_NOT_ORDERING": "Another court gave the order.",
    "E_NOT_HEIR": "The order names another successor.",
    "E_NOTICE": "The time in which others can turn to a court is not over.",
    "E_REASON": "Only a surrender for amendment has a reason code.",
    "E_PAPER_NUMBER": "The number of the paper original is missing, not well formed, another one, or out of place.",
    # PINT: five of the seven answers
    "E_NOT_PLATFORM": "The sender is not the identity of an enrolled platform.",
    "E_PINT_BSIG": "BSIG: a signature does not verify, or is of a platform or carrier whose key is not enrolled.",
    "E_PINT_BENV": "BENV: the envelope is malformed, contradicts itself, or is not addressed to this party here.",
    "E_PINT_INCD": "INCD: a document received is not in the manifest, or of another size.",
    "E_PINT_MDOC": "MDOC: a document of the manifest was not received.",
    "E_PINT_DISE": "DISE: the envelope disputes what this registry knows: the title is not that platform's to send.",
}

module: Final = Module(
    "title",
    version=1,
    entities=(
        entities.Title,
        entities.ChainEntry,
        entities.Carrier,
        entities.Platform,
        entities.Change,
        entities.Envelope,
        entities.Succession,
    ),
    events=(
        TitleDrafted,
        DraftApproved,
        TitleIssued,
        TitleTransferred,
        TransferRejected,
        TitleEndorsed,
        EndorseeNominated,
        TitleSigned,
        TitlePledged,
        PledgeReleased,
        PledgeEnforced,
        SurrenderRequested,
        SurrenderAccepted,
        SurrenderRejected,
        SurrenderWithdrawn,
        TitleSucceeded,
        SuccessionOrdered,
        SuccessionRecalled,
        TitleVoided,
        TitleSwitched,
        EnvelopeAnswered,
        CarrierEnrolled,
        PlatformEnrolled,
    ),
    errors=ERRORS,
    uses=("governance", "kernel", "refdata"),
    may_use=("light_client",),
)
