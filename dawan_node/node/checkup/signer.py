"""What the node signs with: its key files, and the log that keeps it from signing twice."""

from __future__ import annotations

from typing import Final

from dawan_node.crypto import keystore
from dawan_node.errors import DataRefused, KeystoreError, OperatorError, StorageError
from dawan_node.node.checkup.finding import Finding, fail, failed, not_run, ok
from dawan_node.node.checkup.patient import Patient, holder
from dawan_node.node.verification import check_membership, own_request
from dawan_node.storage import wal
from dawan_node.storage.data_mark import read_mark

CHECK: Final = "signer"


def check_key_files(patient: Patient) -> list[Finding]:
    """Every key file is whole and readable by its owner alone."""
    expected = {patient.home.node_key, patient.home.tls_key}
    files = sorted(expected.union(patient.home.keys.glob("*.key.json"), patient.home.keys.glob("ca/*.key.json")))
    found = []
    for path in files:
        try:
            keystore.describe(path)
        except KeystoreError as error:
            found.append(failed(CHECK, path.name, error))
    return found or [ok(CHECK, "key files", f"{len(files)} in {patient.home.keys}, for their owner alone")]


def check_passphrase(patient: Patient) -> list[Finding]:
    """The node's keys open."""
    if patient.keys_trouble is not None:
        return [failed(CHECK, "passphrase", patient.keys_trouble)]
    if patient.keys is None:
        return [not_run(CHECK, "passphrase", "none was given", "Give it: --passphrase-file FILE.")]
    return [ok(CHECK, "passphrase", "opens the node key and the TLS key")]


def check_registered(patient: Patient) -> list[Finding]:
    """The node key is the one the consortium lists, or the one a newcomer asked to join with."""
    if patient.config is None or patient.consortium is None:
        return [not_run(CHECK, "node key", "the consortium is not known", "See what `configuration` says.")]
    try:
        request = own_request(patient.home)
    except OperatorError as error:
        return [failed(CHECK, "join-request.toml", error)]
    problems = check_membership(patient.home, patient.config.node, patient.consortium, request)
    return [failed(CHECK, "node key", problem) for problem in problems] or [
        ok(CHECK, "node key", "is the one this node joined with")
    ]


def check_log(patient: Patient) -> list[Finding]:
    """The write-ahead log is there and can be replayed, or is in the hands of the running node."""
    folder = patient.home.wal
    try:
        mark = read_mark(patient.home.data)
    except (DataRefused, StorageError) as error:
        return [fail(CHECK, "mark.json", "cannot be used", str(error), "See docs/storage.md.")]
    silence = None if mark is None else mark.silenced.get(mark.public_key)
    if silence is not None:
        return [
            fail(
                CHECK,
                "write-ahead log",
                f"may have forgotten what the key signed ({silence})",
                "the node observes, and always will with this key",
                "Replace the key on chain, from a new home: docs/rekey.md.",
            )
        ]
    if patient.pid is not None and holder(folder.with_name(folder.name + ".lock")) == patient.pid:
        return [ok(CHECK, "write-ahead log", f"open in process {patient.pid}")]
    try:
        count = wal.inspect(folder)
    except wal.WalMissing as error:
        return [
            fail(
                CHECK,
                "write-ahead log",
                str(error),
                "this key may have signed things nobody remembers, so the node only observes",
                "Never copy one from elsewhere: make a new key in a new home (init) and have it voted in.",
            )
        ]
    except StorageError as error:
        return [
            fail(CHECK, "write-ahead log", "is damaged", str(error), "Check the disk; the node will not sign with it.")
        ]
    return [ok(CHECK, "write-ahead log", f"{count} records can be replayed")]
