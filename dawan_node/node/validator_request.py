"""``validator-request.toml``: a home's claim to the seat of a validator, signed, public and readable (format 1).

    format = 1
    network = "dawan"
    consortium = "0x..."            hash of the facts that were agreed on (node.agreed_facts)
    created = 2026-11-27T08:00:00.000Z
    name, org                       the validator, and whose it is
    suite, public_key               the key that is to vote; of keys/node.key.json in the home that made this
    addresses = ["host:port"]       where its node listens
    certificate = PEM               the node's TLS certificate
    signature = "0x..."             Ed25519, by the key
    tls_signature = "0x..."         ECDSA P-256 with SHA-256 (DER), by the certificate's key
    [[seat]]  channel, chain_id, possession = "0x..."

``possession`` is what the chain asks for (``primitives.seat``): without it nobody can propose the key. The other two
signatures are over ``dawan:validator-request:v1``, LF, enc([1, network, consortium: bin32, created_ms, name, org,
suite, public_key, [address], certificate DER, [[channel, chain_id, possession], sorted]]), so that addresses and
certificate are the home's own words as well when an administrator on another machine proposes them.

The home keeps the file. It says why the node's key is another one than in ``consortium.toml``: the chain will tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NoReturn

import msgspec

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import CertifiedKey, only_one, to_pem
from dawan_node.crypto.possession import prove_possession, proves_possession
from dawan_node.crypto.signatures import ED25519, PrivateKey, check_public_key, verify
from dawan_node.errors import ConfigError, InvalidKey, UntrustedCertificate
from dawan_node.node.agreed_facts import consortium_hash
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Consortium, Document, Part, public_key_bytes
from dawan_node.node.consortium_text import instant, toml_list, toml_text
from dawan_node.node.home import Home, read_own_certificate, unlock
from dawan_node.node.join_request import AGE_MAX, CLOCK_SKEW, check_reachable
from dawan_node.node.join_review import check_certificate
from dawan_node.node.public_files import replace_files
from dawan_node.node.toml_file import convert, nearest, read_toml
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.names import is_label
from dawan_node.primitives.seat import SEAT_TAG, seat_claim_bytes

REQUEST_TAG: Final = b"dawan:validator-request:v1"
# A certificate and a seat on each of a few hundred channels; more is some other file.
FILE_BYTES_MAX: Final = 128 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Seat(Part, frozen=True):
    """The claim on one channel."""

    channel: str
    chain_id: str
    possession: str


class ValidatorRequest(Part, frozen=True):
    """The file as it is written. Nothing in it is to be believed before ``check_genuine``."""

    format: Literal[1]
    network: str
    consortium: str
    created: datetime
    name: str
    org: str
    suite: str
    public_key: str
    addresses: tuple[str, ...]
    certificate: str
    seat: tuple[Seat, ...]
    signature: str = ""
    tls_signature: str = ""

    @property
    def tls_certificate(self) -> bytes:
        """``certificate`` as DER. Raises UntrustedCertificate."""
        return only_one(self.certificate)

    def signing_bytes(self) -> bytes:
        """What both signatures cover. Raises UntrustedCertificate when the certificate cannot be read."""
        seats = sorted(
            (each.channel, public_key_bytes(each.chain_id), public_key_bytes(each.possession)) for each in self.seat
        )
        return encode(
            [
                self.format,
                self.network,
                public_key_bytes(self.consortium),
                (self.created - _EPOCH) // timedelta(milliseconds=1),
                self.name,
                self.org,
                self.suite,
                public_key_bytes(self.public_key),
                list(self.addresses),
                self.tls_certificate,
                [list(seat) for seat in seats],
            ]
        )

    def claim(self, chain_id: bytes) -> bytes:
        """The bytes that ``possession`` signs on one channel."""
        return seat_claim_bytes(chain_id, self.name, self.org, self.suite, public_key_bytes(self.public_key))

    def render(self) -> str:
        """The file's text."""
        lines = [
            "# Public: this home's claim to the seat of a validator. No secret is in it; changing anything makes it "
            "invalid.",
            "format = 1",
            f"network = {toml_text(self.network)}",
            f"consortium = {toml_text(self.consortium)}",
            f"created = {instant(self.created)}",
            "",
            f"name = {toml_text(self.name)}",
            f"org = {toml_text(self.org)}",
            f"suite = {toml_text(self.suite)}",
            f"public_key = {toml_text(self.public_key)}",
            f"addresses = {toml_list(self.addresses)}",
            "",
            f'certificate = """\n{self.certificate}"""',
            f"signature = {toml_text(self.signature)}",
            f"tls_signature = {toml_text(self.tls_signature)}",
        ]
        for each in self.seat:
            lines += ["", "[[seat]]", f"channel = {toml_text(each.channel)}", f"chain_id = {toml_text(each.chain_id)}"]
            lines.append(f"possession = {toml_text(each.possession)}")
        return "\n".join(lines) + "\n"


def make(
    home: Home,
    node: NodeSection,
    addresses: tuple[str, ...],
    consortium: Consortium,
    channels: Sequence[str],
    now: datetime,
    passphrase: Callable[[], bytes],
) -> ValidatorRequest:
    """Write ``HOME/network/validator-request.toml``; the request.

    ``channels``: where the seat is claimed; empty means where ``consortium`` has a validator of this name.
    ``passphrase`` is called once everything else is there. Raises ConfigError, or KeystoreError for a key file.
    """
    wanted = _channels(node, consortium, channels)
    for address in addresses:
        try:
            check_reachable(address)
        except ValueError as error:
            _refuse(f"addresses: {address}", str(error), "Set p2p.advertise in node.toml.")
    certificate = read_own_certificate(home)
    public_key = keystore.describe(home.node_key).public_key
    draft = ValidatorRequest(
        format=1,
        network=consortium.network,
        consortium=_hex(consortium_hash(consortium.document)),
        created=now.replace(microsecond=now.microsecond // 1000 * 1000),
        name=node.name,
        org=node.org,
        suite=ED25519,
        public_key=_hex(public_key),
        addresses=addresses,
        certificate=to_pem([certificate]),
        seat=tuple(
            Seat(channel=name, chain_id=_hex(consortium.genesis(name).chain_id), possession="") for name in wanted
        ),
    )
    keys = unlock(home, passphrase())
    try:
        request = sign(draft, keys.node, keys.tls)
    except UntrustedCertificate as error:
        _refuse("the TLS key and keys/tls.pem do not fit", str(error), "Put the certificate of this key there.")
    path = home.validator_request_file
    check_genuine(str(path), request)
    replace_files(home.network, {path.name: request.render().encode()})
    return request


def sign(draft: ValidatorRequest, key: PrivateKey, tls: CertifiedKey) -> ValidatorRequest:
    """The draft with the claim on each channel and both signatures. Raises UntrustedCertificate."""
    seats = tuple(
        msgspec.structs.replace(each, possession=_hex(key.sign(SEAT_TAG, draft.claim(public_key_bytes(each.chain_id)))))
        for each in draft.seat
    )
    claimed = msgspec.structs.replace(draft, seat=seats)
    data = claimed.signing_bytes()
    return msgspec.structs.replace(
        claimed,
        signature=_hex(key.sign(REQUEST_TAG, data)),
        tls_signature=_hex(prove_possession(tls, REQUEST_TAG, data)),
    )


def load(path: Path) -> ValidatorRequest:
    """A ``validator-request.toml`` as written, judged no further than its shape. Raises ConfigError."""
    request = convert(str(path), read_toml(path, FILE_BYTES_MAX), ValidatorRequest)
    if request.created.tzinfo is None or not 1970 <= request.created.year < 9999:
        _refuse(f"{path}: created", "an instant with its time zone is needed", "Its owner makes the request again.")
    return request


def own(home: Home) -> ValidatorRequest | None:
    """This home's request, if it made one, with its signatures checked. Raises ConfigError."""
    path = home.validator_request_file
    if not path.exists():
        return None
    request = load(path)
    check_genuine(str(path), request)
    return request


def check_genuine(source: str, request: ValidatorRequest) -> None:
    """Require that a request is well formed and signed by the keys it brings; ``source`` is named in errors.

    Raises ConfigError. Says nothing about its age, its network, or whose certificate it is: ``check_usable`` does.
    """
    labels = [("network", request.network), ("node", request.name), ("organisation", request.org)]
    labels += [("channel", each.channel) for each in request.seat]
    for what, name in labels:
        if not is_label(name):
            _refuse(f"{source}: {what} name {name!r}", "a name is [a-z][a-z0-9-]{0,31}", "Its owner corrects it.")
    channels = [each.channel for each in request.seat]
    if not channels or len(set(channels)) != len(channels):
        _refuse(f"{source}: seat", "one entry for each channel is needed", "Its owner makes the request again.")
    for address in request.addresses:
        try:
            check_reachable(address)
        except ValueError as error:
            _refuse(f"{source}: addresses", str(error), "Its owner sets p2p.advertise in node.toml.")
    key = public_key_bytes(request.public_key)
    try:
        check_public_key(request.suite, key)
    except InvalidKey as error:
        _refuse(f"{source}: public_key", str(error), "Its owner makes a new key.")
    if {len(public_key_bytes(each)) for each in (request.consortium, *(s.chain_id for s in request.seat))} != {32}:
        _refuse(f"{source}: consortium or chain_id", "a hash is 0x and 64 digits", "Its owner makes the request again.")
    try:
        data = request.signing_bytes()
        held = proves_possession(request.tls_certificate, REQUEST_TAG, data, public_key_bytes(request.tls_signature))
    except UntrustedCertificate as error:
        _refuse(f"{source}: certificate", str(error), "Ask its owner for the file again.")
    signed = verify(request.suite, key, REQUEST_TAG, data, public_key_bytes(request.signature))
    for each in request.seat:
        claim = request.claim(public_key_bytes(each.chain_id))
        signed = signed and verify(request.suite, key, SEAT_TAG, claim, public_key_bytes(each.possession))
    if not signed or not held:
        _refuse(
            f"{source}: a signature is not of the {'TLS certificate' if signed else 'validator'}'s key",
            "the file was changed after it was signed, or whoever made it does not hold the key",
            "Ask its owner for the file again, by a way nobody can change it on.",
        )


def check_usable(
    source: str,
    request: ValidatorRequest,
    document: Document,
    roots: Mapping[str, Sequence[bytes]],
    now: datetime,
) -> None:
    """Require that a genuine request is recent, of this network, and certified by its own organisation.

    ``document`` is this machine's consortium, ``roots`` are the authorities it knows. Raises ConfigError.
    """
    again = "Its owner makes a new one: dawan-node network validator-request."
    if request.created > now + CLOCK_SKEW:
        _refuse(f"{source}: created = {instant(request.created)}", f"in the future; here it is {instant(now)}", again)
    if request.created < now - AGE_MAX:
        _refuse(f"{source}: created = {instant(request.created)}", f"that is more than {AGE_MAX.days} days ago", again)
    if request.network != document.network:
        _refuse(f"{source}: network = {request.network!r}", f"this is network {document.network!r}", again)
    expected = _hex(consortium_hash(document))
    if request.consortium != expected:
        _refuse(f"{source}: it was made for another consortium.toml", f"{request.consortium}, here {expected}", again)
    check_certificate(source, request, roots, now)


def _channels(node: NodeSection, consortium: Consortium, channels: Sequence[str]) -> list[str]:
    known = list(consortium.channels)
    for channel in channels:
        if channel not in known:
            _refuse(f"the consortium has no channel {channel!r}", nearest(channel, known), "Correct --channel.")
    entry = consortium.node(node.name)
    if entry is not None and entry.org != node.org:
        _refuse(
            f"node {node.name} of {node.org}",
            f"the consortium has it under {entry.org}",
            "Correct [node] in node.toml, or choose another name.",
        )
    found = list(dict.fromkeys(channels)) or [
        each.name for each in consortium.document.channel if node.name in each.validators
    ]
    if not found:
        _refuse(
            f"{node.name} is no validator in consortium.toml",
            "so nobody can tell which channels it is to validate",
            f"Name them: --channel CHANNEL ({', '.join(known)}).",
        )
    return found


def chosen(request: ValidatorRequest, source: str, channels: Collection[str]) -> list[Seat]:
    """The seats on ``channels``, all without any. Raises ConfigError for a channel the request does not name."""
    named = [each.channel for each in request.seat]
    for channel in channels:
        if channel not in named:
            _refuse(
                f"{source} claims no seat on channel {channel}",
                f"it does on {', '.join(named)}",
                f"Make it again with --channel {channel}.",
            )
    return [each for each in request.seat if not channels or each.channel in channels]


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
