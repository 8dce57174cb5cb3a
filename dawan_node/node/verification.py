"""``network verify``: does this home fit the consortium it is about to join?

Everything is recomputed from ``consortium.toml`` and the CA files; nothing that another party computed is believed, and
what this party signed in its own join-request must stand there unchanged. No passphrase is needed: the public halves of
the key files are enough.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import NodeCertificate, check_authorities, validate_node_certificate
from dawan_node.crypto.certificates import fingerprint as certificate_fingerprint
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError, KeystoreError, OperatorError, UntrustedCertificate
from dawan_node.node import validator_request
from dawan_node.node.agreed_facts import consortium_hash, describe_differences, differences
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Consortium, load_document, public_key_bytes
from dawan_node.node.home import Home, read_certificates, read_own_certificate
from dawan_node.node.join_request import JoinRequest, check_genuine
from dawan_node.node.join_request import load as load_request
from dawan_node.node.validator_request import ValidatorRequest

_ASSEMBLE_AGAIN = "Ask whoever assembled the network why, and let it be assembled again from the join-requests."


def verify_home(
    home: Home,
    node: NodeSection,
    consortium: Consortium,
    now: datetime,
    *,
    folder: Path | None = None,
    tolerated: Collection[str] = (),
) -> list[OperatorError]:
    """Every reason why peers would not have this node, none when all is well.

    ``folder`` is where ``consortium`` was loaded from when it is not HOME/network yet (``network verify --from``);
    then the node's addresses must be those of its join-request too, which may change in a network that runs.
    Certificates that are refused for one of the reasons ``tolerated`` pass.
    """
    found = [
        *_check_observer(home, node, consortium),
        *check_genesis_files(folder or home.network, consortium),
        *check_registered_authorities(consortium, now, tolerated=tolerated),
    ]
    try:
        request, claim = own_request(home), validator_request.own(home)
    except ConfigError as error:
        return [*found, error]
    if claim is not None:
        found += _check_claim(home, node, consortium, claim)
    elif request is not None:
        found += _check_request(home, node, consortium, request, addresses=folder is not None)
    roots = known_roots(consortium, request)
    return [
        *found,
        *([] if claim is not None else check_membership(home, node, consortium, request)),
        *check_node_certificate(home, node, roots, now, tolerated=tolerated),
    ]


def _check_observer(home: Home, node: NodeSection, consortium: Consortium) -> list[OperatorError]:
    """A home made to observe does not take a validator's place: the others would wait for its votes."""
    if not (node.observer and consortium.is_validator(node.name)):
        return []
    return [
        ConfigError(
            f"{node.name} is set up as an observer ({home.config_file})",
            "consortium.toml lists it as a validator, which the others would count on to vote",
            "List it under [[observer]], or run a home made without --observer.",
        )
    ]


def verify_start(home: Home, node: NodeSection, consortium: Consortium, now: datetime) -> list[OperatorError]:
    """Every reason why this node must not start.

    The same, but for certificates that have expired: nobody's forgotten renewal may keep another organisation's node
    from starting again, and a node whose own certificate expired waits for the new one while it runs (it has no links
    until then, is not ready, and says so). And its own certificate may be of an authority that consortium.toml does
    not list but a channel's state does: ``require_own_certificate`` judges that once the state is open.
    """
    return verify_home(home, node, consortium, now, tolerated=("expired", "unknown_authority"))


def require_own_certificate(home: Home, node: NodeSection, trust: Trust, now: datetime) -> None:
    """Require that peers who know what this node knows would believe its certificate, or have done so.

    ``trust`` is made of the channels' state too, where organisations replace their authorities. Raises ConfigError.
    """
    problems = check_node_certificate(home, node, trust.roots, now, tolerated=("expired",))
    if problems:
        raise problems[0]


def notices(home: Home, node: NodeSection, consortium: Consortium) -> list[str]:
    """What an operator should know although nothing is wrong. Raises ConfigError when the join-request is damaged."""
    request = own_request(home)
    if validator_request.own(home) is not None:
        return []  # what its key is on each channel is said by node.own_seat
    if consortium.node(node.name) is None and request is not None:
        return [
            f"{node.name} of {node.org} is not in consortium.toml. Is it admitted on chain? Until it is, no peer of "
            f"{', '.join(served_channels(home, consortium, node.org))} answers it"
        ]
    if request is None:
        return [
            f"{home.join_request_file} is missing, so what this party agreed to cannot be compared with consortium.toml"
        ]
    return []


def served_channels(home: Home, consortium: Consortium, org: str) -> tuple[str, ...]:
    """The channels a home follows: those of its organisation, else those its join-request asks for.

    In the order of ``consortium.toml``. Raises ConfigError when the join-request is damaged.
    """
    if known := consortium.channels_for(org):
        return known
    request = own_request(home)
    if request is None or request.org != org:
        return ()
    return tuple(channel for channel in consortium.channels if channel in request.channels)


def own_request(home: Home) -> JoinRequest | None:
    """This home's join-request, if it made one, with its signatures checked. Raises ConfigError."""
    if not home.join_request_file.exists():
        return None
    request = load_request(home.join_request_file)
    check_genuine(str(home.join_request_file), request)
    return request


def known_roots(consortium: Consortium, request: JoinRequest | None) -> Mapping[str, Sequence[bytes]]:
    """Every organisation's authorities; a newcomer's own are in its join-request."""
    if request is None or request.org in consortium.roots:
        return consortium.roots
    return {**consortium.roots, request.org: request.authorities}


def home_roots(home: Home, consortium: Consortium, org: str) -> Mapping[str, Sequence[bytes]]:
    """The same, and for ``org``, whose home it is, also its own keys/ca: a vote may have registered it since.

    Raises ConfigError for an own file that cannot be read.
    """
    roots = known_roots(consortium, own_request(home))
    if not home.authority_certificate.exists():
        return roots
    own = [*roots.get(org, ()), *read_certificates(home.authority_certificate)]
    return {**roots, org: tuple(dict.fromkeys(own))}


def check_genesis_files(folder: Path, consortium: Consortium) -> list[OperatorError]:
    """The genesis files in ``folder`` are what consortium.toml says they are."""
    found: list[OperatorError] = []
    for channel in consortium.channels:
        path = folder / "genesis" / f"{channel}.bin"
        expected = consortium.genesis(channel)
        try:
            same = path.read_bytes() == expected.encoded
        except OSError as error:
            found.append(
                ConfigError(
                    f"{path} cannot be read",
                    error.strerror or "unknown reason",
                    "Take over what `network assemble` wrote: dawan-node network verify --from FOLDER.",
                )
            )
            continue
        if not same:
            found.append(
                ConfigError(
                    f"{path} is not the genesis of channel {channel}",
                    f"consortium.toml gives chain id 0x{expected.chain_id.hex()}",
                    "Ask the party that assembled the network for both files again, and compare with a third party.",
                )
            )
    return found


def check_registered_authorities(
    consortium: Consortium, now: datetime, *, tolerated: Collection[str] = ()
) -> list[OperatorError]:
    """Every organisation's CA certificates are usable; ``tolerated``: reasons that do not count."""
    found: list[OperatorError] = []
    for org, certificates in consortium.roots.items():
        try:
            check_authorities(org, certificates, now)
        except UntrustedCertificate as error:
            if error.reason in tolerated:
                continue
            found.append(
                ConfigError(
                    f"the CA certificate of {org} is refused", str(error), "Let its owner make and hand over a new one."
                )
            )
    return found


def _check_request(
    home: Home, node: NodeSection, consortium: Consortium, request: JoinRequest, *, addresses: bool
) -> list[OperatorError]:
    """What this party signed when it asked to join stands in the file, all of it and unchanged."""
    path = home.join_request_file
    if (request.name, request.org) != (node.name, node.org):
        return [
            ConfigError(
                f"{path} is of {request.name} of {request.org}",
                f"node.toml says {node.name} of {node.org}",
                "Correct node.toml, or make the request again: dawan-node network join-request.",
            )
        ]
    if request.network != consortium.network:
        return [
            ConfigError(
                f"this home belongs to network {request.network}",
                f"its join-request was made for that, and this file is of network {consortium.network}",
                "Use another --home for this network.",
            )
        ]
    changed = _changed_facts(home, consortium, request)
    entry = consortium.node(node.name)
    pairs: list[tuple[str, object, object]] = []
    if entry is not None:
        pairs.append((f"public_key of node {node.name}", entry.public_key, request.public_key))
        if addresses:
            pairs.append((f"addresses of node {node.name}", list(entry.addresses), list(request.addresses)))
    keys = {identity.name: identity.public_key for identity in consortium.document.identity}
    if entry is not None:
        pairs += [
            (f"public_key of identity {each.name}", keys.get(each.name, "missing"), each.public_key)
            for each in request.identity
        ]
    if request.ca and node.org in consortium.roots:
        given, found = ([_short(der) for der in ders] for ders in (request.authorities, consortium.roots[node.org]))
        pairs.append((f"the CA certificates of {node.org}", found, given))
    return [
        *changed,
        *(
            ConfigError(
                f"{title} in consortium.toml is not what this party signed",
                f"there it is {there}, in {path.name} {signed}",
                _ASSEMBLE_AGAIN,
            )
            for title, there, signed in pairs
            if there != signed
        ),
    ]


def _changed_facts(home: Home, consortium: Consortium, request: JoinRequest) -> list[OperatorError]:
    """The agreed facts, by their hash; the copy of the agreed file only serves to say what differs."""
    found = "0x" + consortium_hash(consortium.document).hex()
    if found == request.consortium:
        return []
    why = f"this file is {found}, the join-request was made for {request.consortium}"
    try:
        agreed = load_document(home.agreed_file)
    except ConfigError as error:
        why += f" ({error.what}: {error.why})"
    else:
        if "0x" + consortium_hash(agreed).hex() == request.consortium:
            why = describe_differences(differences(agreed, consortium.document))
    return [ConfigError("consortium.toml is not the file this party agreed to", why, _ASSEMBLE_AGAIN)]


def check_membership(
    home: Home, node: NodeSection, consortium: Consortium, request: JoinRequest | None
) -> list[OperatorError]:
    """The consortium, or else this node's own join-request, has the node under its organisation and with its key."""
    entry = consortium.node(node.name)
    if entry is not None and entry.org == node.org:
        return _check_node_key(home, node, public_key_bytes(entry.public_key), "consortium.toml")
    if entry is not None:
        return [
            ConfigError(
                f"node {node.name} of {node.org}",
                f"the consortium has it under {entry.org}",
                "Correct [node] in node.toml, or agree on another file.",
            )
        ]
    if request is None or not request.channels:
        return [
            ConfigError(
                f"node {node.name} of {node.org}",
                "the consortium has no such node",
                "Correct [node] in node.toml; to join the running network: dawan-node network join-request --channel.",
            )
        ]
    unknown = [channel for channel in request.channels if channel not in consortium.channels]
    if unknown:
        return [
            ConfigError(
                f"{home.join_request_file} asks for channel {unknown[0]}",
                "the consortium has no such channel",
                "Make the request again with the consortium.toml of this network.",
            )
        ]
    return _check_node_key(home, node, public_key_bytes(request.public_key), home.join_request_file.name)


def _check_claim(home: Home, node: NodeSection, consortium: Consortium, claim: ValidatorRequest) -> list[OperatorError]:
    """A home that claims a validator's seat has the key it claims it for, which is not the one in consortium.toml."""
    path = home.validator_request_file
    again = "Make it again: dawan-node network validator-request."
    if (claim.name, claim.org) != (node.name, node.org):
        why = f"node.toml says {node.name} of {node.org}"
        return [ConfigError(f"{path} is of {claim.name} of {claim.org}", why, again)]
    expected = "0x" + consortium_hash(consortium.document).hex()
    if (claim.network, claim.consortium) != (consortium.network, expected):
        why = f"that of {claim.network} with facts {claim.consortium}; here it is {consortium.network}, {expected}"
        return [ConfigError(f"{path} was made for another consortium.toml", why, again)]
    return _check_node_key(home, node, public_key_bytes(claim.public_key), path.name)


def _check_node_key(home: Home, node: NodeSection, expected: bytes, source: str) -> list[OperatorError]:
    try:
        own = keystore.describe(home.node_key).public_key
    except KeystoreError as error:
        return [error]
    if own != expected:
        return [
            ConfigError(
                f"the key of node {node.name} is not the one in {source}",
                f"this home holds 0x{own.hex()}, there it is 0x{expected.hex()}",
                "Use the home that holds that key; a running network gives a validator another key by vote: dawan-node "
                "network validator-request (docs/rekey.md).",
            )
        ]
    return []


def _short(certificate: bytes) -> str:
    return certificate_fingerprint(certificate).hex()[:16]


def check_node_certificate(
    home: Home,
    node: NodeSection,
    roots: Mapping[str, Sequence[bytes]],
    now: datetime,
    *,
    tolerated: Collection[str] = (),
) -> list[OperatorError]:
    """Peers would accept this node's TLS certificate, and it is for its TLS key; ``tolerated``: as above."""
    path = home.tls_certificate
    try:
        judged = validate_node_certificate(read_own_certificate(home), roots, now)
    except ConfigError as error:
        return [error]
    except UntrustedCertificate as error:
        if error.reason in tolerated:
            return []
        return [
            ConfigError(
                f"peers would refuse {path}",
                str(error),
                f"Have the CA that consortium.toml lists for {node.org} issue it anew: dawan-node cert renew.",
            )
        ]
    if (judged.org, judged.name) != (node.org, node.name):
        return [
            ConfigError(
                f"{path} is another node's",
                f"it is of {judged.name} of {judged.org}, this node is {node.name} of {node.org}",
                "Put this node's own certificate there: dawan-node cert renew.",
            )
        ]
    return _check_key(home, judged)


def _check_key(home: Home, judged: NodeCertificate) -> list[OperatorError]:
    """The TLS key is the one the certificate is for."""
    try:
        held = keystore.describe(home.tls_key).public_key
    except KeystoreError as error:
        return [error]
    if held != judged.public_key:
        return [
            ConfigError(
                f"{home.tls_certificate} is not for the key in {home.tls_key.name}",
                "it certifies another public key, so no TLS connection could be made with it",
                "Put back the two that belong together, or issue one for this key: dawan-node cert renew.",
            )
        ]
    return []
