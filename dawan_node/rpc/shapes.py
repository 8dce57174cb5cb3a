"""Ledger objects as JSON (design section 9, formats B). Pure: from the frozen values of ``api`` to plain dicts.

Everything here is a projection for readers. What must be verified travels beside it as ``0x..`` bytes: nobody should
hash JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import values
from dawan_node.rpc.api import (
    BlockInfo,
    CertificateWarning,
    ChannelInfo,
    ChannelStatus,
    DiskInfo,
    EventInfo,
    EvidenceReport,
    HeadInfo,
    IdentityInfo,
    OrgInfo,
    PbftInfo,
    PeerInfo,
    PoolInfo,
    ReceiptInfo,
    StatusInfo,
    ValidatorInfo,
    VersionInfo,
)
from dawan_node.rpc.values import to_hex, to_instant, to_int

# (module, kind, name) -> JSON Schema and the document that holds its $defs; kind is "commands", "events", ...
SchemaOf = Callable[[str, str, str], tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]

Json = dict[str, Any]


def version(info: VersionInfo) -> Json:
    return {
        "version": info.version,
        "protocol": info.protocol,
        "suite": info.suite,
        "python": info.python,
        "leveldb": info.leveldb,
        "ed25519": info.ed25519,
    }


def status(info: StatusInfo) -> Json:
    return {
        "node": info.node,
        "org": info.org,
        "network": info.network,
        "uptime_s": info.uptime_s,
        **({} if info.disk is None else {"disk": _disk(info.disk)}),
        "channels": [_channel_status(channel) for channel in info.channels],
        "peers": info.peers,
        # Absent while nothing is near its end.
        **({"certificates": [_certificate_warning(each) for each in info.certificates]} if info.certificates else {}),
    }


def _disk(info: DiskInfo) -> Json:
    return {
        "free_bytes": to_int(info.free_bytes),
        "floor_bytes": to_int(info.floor_bytes),
        "reserve_bytes": to_int(info.reserve_bytes),
    }


def _certificate_warning(info: CertificateWarning) -> Json:
    return {
        "org": info.org,
        "level": info.level,
        "not_after": to_instant(info.not_after_ms),
        "text": info.text,
        "fix": info.fix,
    }


def _channel_status(info: ChannelStatus) -> Json:
    return {
        "channel": info.channel,
        "height": to_int(info.height),
        "state": info.state,
        "view": to_int(info.view),
        "primary": info.primary,
        "last_commit_age_ms": info.last_commit_age_ms,
        "sync": None
        if info.sync is None
        else {
            "target": to_int(info.sync.target),
            "verified": to_int(info.sync.verified),
            "blocks_per_s": to_int(info.sync.blocks_per_s),
            "eta_s": info.sync.eta_s,
        },
        # Absent while nothing is lost.
        **({} if info.healing_to is None else {"healing": {"to": to_int(info.healing_to)}}),
    }


def channel(info: ChannelInfo) -> Json:
    return {
        "channel": info.channel,
        "chain_id": to_hex(info.chain_id),
        "height": to_int(info.height),
        "modules": [{"name": module.name, "version": module.version} for module in info.modules],
        "orgs": list(info.orgs),
        "validators": list(info.validators),
        "n": info.n,
        "f": info.f,
        "quorum": info.quorum,
    }


def head(info: HeadInfo) -> Json:
    return {
        "height": to_int(info.height),
        "block_hash": to_hex(info.block_hash),
        "state_root": to_hex(info.state_root),
        "timestamp": to_instant(info.timestamp_ms),
    }


def header(value: Header) -> Json:
    return {
        "version": value.version,
        "chain_id": to_hex(value.chain_id),
        "epoch": to_int(value.epoch),
        "height": to_int(value.height),
        "parent_hash": to_hex(value.parent_hash),
        "tx_root": to_hex(value.tx_root),
        "tx_count": to_int(value.tx_count),
        "body_bytes": to_int(value.body_bytes),
        "timestamp": to_instant(value.timestamp_ms),
        "proposer": to_int(value.proposer),
        "valset_hash": to_hex(value.valset_hash),
        "barrier": value.barrier,
    }


def result(value: Result) -> Json:
    return {
        "height": to_int(value.height),
        "block_hash": to_hex(value.block_hash),
        "parent_result_hash": to_hex(value.parent_result_hash),
        "state_root": to_hex(value.state_root),
        "receipts_root": to_hex(value.receipts_root),
        "next_valset_hash": to_hex(value.next_valset_hash),
    }


def certificate(value: CommitCertificate) -> Json:
    return {
        "epoch": to_int(value.epoch),
        "view": to_int(value.view),
        "height": to_int(value.height),
        "block_hash": to_hex(value.block_hash),
        "result_hash": to_hex(value.result_hash),
        "bitmap": to_hex(value.bitmap),
        "signatures": [to_hex(signature) for signature in value.signatures],
    }


def finality_proof(encoded: bytes) -> Json:
    """``{proof, decoded}``. Raises InvalidProof or InvalidEncoding if the node's own store gave nonsense."""
    proof = FinalityProof.decode(encoded)
    return {
        "proof": to_hex(encoded),
        "decoded": {
            "header": header(Header.decode(proof.header)),
            "result": result(Result.decode(proof.result)),
            "links": [
                {"header": header(Header.decode(above)), "result": result(Result.decode(outcome))}
                for above, outcome in proof.links
            ],
            "certificate": certificate(CommitCertificate.decode(proof.certificate)),
        },
    }


def validator(info: ValidatorInfo) -> Json:
    return {
        "index": info.index,
        "name": info.name,
        "org": info.org,
        "suite": info.suite,
        "public_key": to_hex(info.public_key),
    }


def transaction(envelope: bytes, schema_of: SchemaOf) -> Json:
    """A transaction with its arguments in readable form; ``tx`` is the envelope itself."""
    decoded = Transaction.decode(envelope)
    body = decoded.body
    schema, root = schema_of(body.module, "commands", body.command)
    return {
        "tx_id": to_hex(decoded.tx_id),
        "suite": decoded.suite,
        "public_key": to_hex(decoded.public_key),
        "nonce": to_hex(body.nonce),
        "valid_until": to_instant(body.valid_until_ms),
        "module": body.module,
        "command": body.command,
        "args": values.to_json(body.args, schema, root),
        "tx": to_hex(envelope),
    }


def block(info: BlockInfo, full: bool, schema_of: SchemaOf) -> Json:
    """``txs`` are ids, or with ``full`` transactions with their code and reason."""
    txs: list[Any] = [to_hex(tx_id) for tx_id in info.tx_ids]
    if full:
        txs = [
            {**transaction(envelope, schema_of), "index": index, "code": receipt.code, "reason": receipt.reason}
            for index, (envelope, receipt) in enumerate(zip(info.envelopes, info.receipts, strict=True))
        ]
    return {
        "height": to_int(info.height),
        "header": header(info.header) if info.header is not None else None,
        "block_hash": to_hex(info.block_hash),
        "result": result(info.result),
        "commit": {"view": to_int(info.view), "signers": list(info.signers)} if info.view is not None else None,
        "txs": txs,
    }


def receipt(channel_name: str, info: ReceiptInfo, schema_of: SchemaOf) -> Json:
    value = info.receipt
    return {
        "tx_id": to_hex(value.tx_id),
        "channel": channel_name,
        "height": to_int(value.height),
        "index": to_int(value.index),
        "block_hash": to_hex(info.block_hash),
        "code": value.code,
        "reason": value.reason,
        "events": [
            {"name": name, "data": values.to_json(data, *schema_of(info.module, "events", name))}
            for name, data in value.events
        ],
    }


def event(channel_name: str, info: EventInfo, cursor: str, schema_of: SchemaOf) -> Json:
    return {
        "cursor": cursor,
        "channel": channel_name,
        "height": to_int(info.position.height),
        "index": info.position.index,
        "n": info.position.n,
        "tx_id": to_hex(info.tx_id),
        "module": info.module,
        "name": info.name,
        "data": values.to_json(info.data, *schema_of(info.module, "events", info.name)),
    }


def organisation(info: OrgInfo) -> Json:
    return {"id": info.id, "names": dict(info.names), "tier": info.tier, "status": info.status}


def identity(info: IdentityInfo) -> Json:
    shape: Json = {
        "name": info.name,
        "org": info.org,
        "roles": list(info.roles),
        "suite": info.suite,
        "public_key": to_hex(info.public_key),
        "status": info.status,
        "since_height": to_int(info.since_height),
    }
    if info.certificate_not_after_ms is not None:
        shape["certificate_not_after"] = to_instant(info.certificate_not_after_ms)
    return shape


def pbft(info: PbftInfo) -> Json:
    return {
        "channel": info.channel,
        "state": info.state,
        "epoch": to_int(info.epoch),
        "view": to_int(info.view),
        "primary": info.primary,
        "height": to_int(info.height),
        "in_flight": [
            {
                "height": to_int(slot.height),
                "phase": slot.phase,
                "have": list(slot.have),
                "missing": list(slot.missing),
            }
            for slot in info.in_flight
        ],
        "suspects": [{"name": name, "view": to_int(view)} for name, view in info.suspects],
        "waiting_for": info.waiting_for,
    }


def evidence(report: EvidenceReport) -> Json:
    halted = report.halted
    return {
        "evidence": [
            {
                "kind": info.kind,
                "epoch": to_int(info.epoch),
                "validator": info.validator,
                "first": _hex_or_null(info.first),
                "second": _hex_or_null(info.second),
                "on_chain": None if info.on_chain is None else to_int(info.on_chain),
            }
            for info in report.evidence
        ],
        "halted": None
        if halted is None
        else {
            "reason": halted.reason,
            "first": _hex_or_null(halted.first),
            "second": _hex_or_null(halted.second),
        },
    }


def _hex_or_null(data: bytes | None) -> str | None:
    return None if data is None else to_hex(data)


def peers(infos: Iterable[PeerInfo]) -> list[Json]:
    return [
        {
            "name": info.name,
            "org": info.org,
            "address": info.address,
            "direction": info.direction,
            "channels": list(info.channels),
            "rtt_ms": info.rtt_ms,
            "behind": dict(info.behind),
            "software": info.software,
            "clock_skew_ms": info.clock_skew_ms,
        }
        for info in infos
    ]


def pool(info: PoolInfo) -> Json:
    return {
        "count": info.count,
        "bytes": info.bytes,
        "count_max": info.count_max,
        "bytes_max": info.bytes_max,
        "by_org": [{"org": org, "count": count, "bytes": size} for org, count, size in info.by_org],
    }
