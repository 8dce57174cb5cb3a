"""Certificates and revocation lists: judged as peers judge them, and how long they last."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node import expiry
from dawan_node.node.checkup.finding import Finding, fail, failed, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.expiry import Kind, Level
from dawan_node.node.home import read_certificate, read_certificates
from dawan_node.node.verification import check_node_certificate, check_registered_authorities

CHECK: Final = "certificates"


def check_chain(patient: Patient) -> list[Finding]:
    """The own certificate is this node's, for its key, and under the registered CA; every CA is usable."""
    if patient.config is None or patient.consortium is None or patient.trust is None:
        return [not_run(CHECK, "chain", "the consortium is not known", "See what `configuration` says.")]
    now = patient.clock.now()
    problems = check_node_certificate(patient.home, patient.config.node, patient.trust.roots, now)
    if problems and not patient.trust_is_current and _is_of_own_authority(patient, now):
        return [
            warn(
                CHECK,
                "tls.pem",
                "is accepted under keys/ca of this home, and HOME/network does not list that authority",
                "the files say how the network began; what was registered by vote since, the channels say",
                "Run doctor again with the node running, which asks them. If no vote registered it: cert renew.",
            )
        ]
    found = [failed(CHECK, "tls.pem", problem) for problem in problems]
    found += [failed(CHECK, "CA", problem) for problem in check_registered_authorities(patient.consortium, now)]
    if not problems:
        try:
            patient.trust.judge(read_certificate(patient.home.tls_certificate), now)
        except UntrustedCertificate as error:  # by the revocation lists
            found.append(
                fail(
                    CHECK,
                    "tls.pem",
                    "peers with these revocation lists would refuse it",
                    str(error),
                    "Have a new one issued: dawan-node cert renew; under the hard rule also a current list.",
                )
            )
        else:
            found.append(ok(CHECK, "tls.pem", "accepted under the registered CA, and for this node's TLS key"))
    return found


def _is_of_own_authority(patient: Patient, now: datetime) -> bool:
    """Whether only the organisation's own keys/ca, and no file of the network, makes the certificate good."""
    home, config = patient.home, patient.config
    if config is None or not home.authority_certificate.exists():
        return False
    try:
        roots = {config.node.org: read_certificates(home.authority_certificate)}
    except ConfigError:
        return False  # the check of the dates says what is wrong with it
    return not check_node_certificate(home, config.node, roots, now)


def check_dates(patient: Patient) -> list[Finding]:
    """How near its end each certificate and list is."""
    org = patient.config.node.org if patient.config is not None else ""
    dated = []
    try:
        own = read_certificate(patient.home.tls_certificate)
        dated.append(expiry.date_certificate(own, Kind.NODE, org, org))
        if patient.home.authority_certificate.exists():
            dated += expiry.date_authorities({org: read_certificates(patient.home.authority_certificate)}, org)
    except ConfigError as error:
        return [failed(CHECK, "dates", error)]
    except UntrustedCertificate as error:
        return [fail(CHECK, "tls.pem", "cannot be read", str(error), "Put the right file there: cert renew.")]
    if patient.trust is not None:
        dated += expiry.date_authorities(patient.trust.roots, org)
        dated += expiry.date_lists(patient.trust.revocations.lists.values(), org)
    found = []
    for finding in expiry.examine(dated, patient.clock.now()):
        subject = f"{finding.dated.kind} of {finding.dated.org}"
        if finding.level is Level.OK:
            found.append(ok(CHECK, subject, finding.text))
            continue
        why = "no new link can be made with it" if finding.level is Level.EXPIRED else "links fail after that"
        # Links of others do not depend on an expired root of a third organisation, nor on a list under the soft rule.
        grave = finding.level is Level.EXPIRED and finding.dated.kind is Kind.NODE
        found.append((fail if grave else warn)(CHECK, subject, finding.text, why, finding.dated.fix))
    return found


def check_lists(patient: Patient) -> list[Finding]:
    """Every organisation's revocation list is there and counts."""
    found = [
        fail(CHECK, f"network/crl/{name}", "does not count", why, "Ask its organisation for it again: cert crl there.")
        for name, why in patient.list_troubles
    ]
    if patient.trust is not None and patient.config is not None:
        rule = patient.config.p2p.revocation
        effect = "its nodes are refused" if rule == "hard" else "its nodes are accepted, also revoked ones"
        missing = patient.trust.revocations.warnings(patient.clock.now())
        say = fail if rule == "hard" else warn
        found += [
            say(
                CHECK,
                "revocation lists",
                text,
                f'[p2p] revocation = "{rule}": {effect}',
                "There: cert crl, then cert publish; or hand over the file, as network/crl/ORG.crl.pem here.",
            )
            for text in missing
        ]
        if not found:
            found.append(ok(CHECK, "revocation lists", "one of every authority, all current"))
    return found
