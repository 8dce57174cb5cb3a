"""``join-request.toml``: what one party brings to a network, signed, public and readable (format 1).

    format = 1
    network = "dawan"
    consortium = "0x..."            hash of the file that was agreed on (node.agreed_facts)
    created = 2026-11-27T08:00:00.000Z
    name, org, role                 the node; role is "validator" or "observer"
    suite, public_key               the key of its hello and its votes
    addresses = ["host:port"]
    ca = PEM                        the organisation's authorities, root first, from the home that has them
    certificate = PEM               the node's TLS certificate
    signature = "0x..."             Ed25519, by the node key
    tls_signature = "0x..."         ECDSA P-256 with SHA-256 (DER), by the certificate's key
    channels = ["trade"]            only for a node the file does not know: what it asks to be admitted to
    names.{en, zh-Hans, zh-Hant, pt}, admin = "<identity>"    only for an organisation the file does not know
    [[identity]]  name, public_key

Both signatures are over ``dawan:join:v1``, LF, enc([1, network, consortium: bin32, created_ms, name, org, role, suite,
public_key, [address], [CA certificate DER], certificate DER, [[identity name, public_key], sorted], [channel],
[the four names or none], admin]) (formats A.1). They cover values, not text: a mail gateway that changes line ends does
no harm, one that changes a value does. A certificate is public, so the second signature shows that its key is held too.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NoReturn

import msgspec

from dawan_node.crypto.certificates import CertifiedKey, from_pem, only_one
from dawan_node.crypto.possession import prove_possession, proves_possession
from dawan_node.crypto.signatures import PrivateKey, check_public_key, verify
from dawan_node.errors import ConfigError, InvalidKey, UntrustedCertificate
from dawan_node.node.config import parse_address
from dawan_node.node.consortium import Names, Part, is_readable, public_key_bytes
from dawan_node.node.consortium_text import instant, toml_list, toml_text
from dawan_node.node.toml_file import convert, read_toml
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.names import is_label

JOIN_TAG: Final = b"dawan:join:v1"
# Eight CA certificates, the node's own and a thousand identities fit; more is some other file.
FILE_BYTES_MAX: Final = 512 * 1024
#: From one meeting of the administrators to the next: an older request may speak of keys that were replaced since.
AGE_MAX: Final = timedelta(days=30)
#: As for certificates: how far the clocks of two machines may be apart.
CLOCK_SKEW: Final = timedelta(minutes=5)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Role = Literal["validator", "observer"]


class RequestIdentity(Part, frozen=True):
    """A key the party made for somebody who will send transactions."""

    name: str
    public_key: str


class JoinRequest(Part, frozen=True):
    """The file as it is written. Nothing in it is to be believed before ``check_genuine``."""

    format: Literal[1]
    network: str
    consortium: str
    created: datetime
    name: str
    org: str
    role: Role
    suite: str
    public_key: str
    addresses: tuple[str, ...]
    certificate: str
    signature: str = ""
    tls_signature: str = ""
    ca: str = ""
    channels: tuple[str, ...] = ()
    names: Names | None = None
    admin: str = ""
    identity: tuple[RequestIdentity, ...] = ()

    @property
    def authorities(self) -> list[bytes]:
        """The certificates of ``ca``, DER, root first; none without it. Raises UntrustedCertificate."""
        return from_pem(self.ca) if self.ca else []

    @property
    def tls_certificate(self) -> bytes:
        """``certificate`` as DER. Raises UntrustedCertificate."""
        return only_one(self.certificate)

    def signing_bytes(self) -> bytes:
        """What both signatures cover. Raises UntrustedCertificate when a certificate cannot be read."""
        names = [] if self.names is None else list(msgspec.structs.astuple(self.names))
        identities = sorted((each.name, public_key_bytes(each.public_key)) for each in self.identity)
        return encode(
            [
                self.format,
                self.network,
                public_key_bytes(self.consortium),
                (self.created - _EPOCH) // timedelta(milliseconds=1),
                self.name,
                self.org,
                self.role,
                self.suite,
                public_key_bytes(self.public_key),
                list(self.addresses),
                self.authorities,
                self.tls_certificate,
                [[name, key] for name, key in identities],
                list(self.channels),
                names,
                self.admin,
            ]
        )

    def render(self) -> str:
        """The file's text."""
        lines = [
            "# Public: what this node brings to the network. No secret is in it; changing anything makes it invalid.",
            "format = 1",
            f"network = {toml_text(self.network)}",
            f"consortium = {toml_text(self.consortium)}",
            f"created = {instant(self.created)}",
            "",
            f"name = {toml_text(self.name)}",
            f"org = {toml_text(self.org)}",
            f"role = {toml_text(self.role)}",
            f"suite = {toml_text(self.suite)}",
            f"public_key = {toml_text(self.public_key)}",
            f"addresses = {toml_list(self.addresses)}",
        ]
        if self.channels:
            lines.append(f"channels = {toml_list(self.channels)}")
        if self.names is not None:
            encoded = {field.name: field.encode_name for field in msgspec.structs.fields(Names)}
            lines += [
                f"names.{encoded[name]} = {toml_text(value)}"
                for name, value in msgspec.structs.asdict(self.names).items()
            ]
        if self.admin:
            lines.append(f"admin = {toml_text(self.admin)}")
        lines.append("")
        if self.ca:
            lines.append(f'ca = """\n{self.ca}"""')
        lines += [
            f'certificate = """\n{self.certificate}"""',
            f"signature = {toml_text(self.signature)}",
            f"tls_signature = {toml_text(self.tls_signature)}",
        ]
        for each in self.identity:
            lines += ["", "[[identity]]", f"name = {toml_text(each.name)}"]
            lines.append(f"public_key = {toml_text(each.public_key)}")
        return "\n".join(lines) + "\n"


def sign(draft: JoinRequest, node: PrivateKey, tls: CertifiedKey) -> JoinRequest:
    """The draft with both signatures. Raises UntrustedCertificate when the TLS key is not the certificate's."""
    data = draft.signing_bytes()
    return msgspec.structs.replace(
        draft,
        signature="0x" + node.sign(JOIN_TAG, data).hex(),
        tls_signature="0x" + prove_possession(tls, JOIN_TAG, data).hex(),
    )


def load(path: Path) -> JoinRequest:
    """A ``join-request.toml`` as written, judged no further than its shape. Raises ConfigError."""
    request = convert(str(path), read_toml(path, FILE_BYTES_MAX), JoinRequest)
    if request.created.tzinfo is None or not 1970 <= request.created.year < 9999:
        _refuse(f"{path}: created", "an instant with its time zone is needed", "Its owner makes the request again.")
    return request


def check_genuine(source: str, request: JoinRequest) -> None:
    """Require that a request is well formed and signed by the keys it brings. Raises ConfigError.

    ``source`` is named in errors. Says nothing about whether the request is recent, wanted, or certified by the right
    authority: that takes the other parties' requests too (node.join_review).
    """
    _check_names(source, request)
    _check_addresses(source, request)
    _check_keys(source, request)
    _check_signatures(source, request)


def check_fresh(source: str, request: JoinRequest, now: datetime) -> None:
    """Require that a request was made within ``AGE_MAX``, and not in the future. Raises ConfigError."""
    if request.created > now + CLOCK_SKEW:
        _refuse(
            f"{source}: created = {instant(request.created)}",
            f"that is in the future; here it is {instant(now)}",
            "Set the clock that is wrong, then make the request again: dawan-node network join-request.",
        )
    if request.created < now - AGE_MAX:
        _refuse(
            f"{source}: created = {instant(request.created)}",
            f"that is more than {AGE_MAX.days} days ago, so its keys may have been replaced since",
            "Its owner makes a new one: dawan-node network join-request.",
        )


def check_reachable(address: str) -> None:
    """Require an address that others can dial. Raises ValueError with a sentence."""
    host, port = parse_address(address)
    if port == 0:
        raise ValueError(f"{address!r}: port 0 means any free one, which others cannot know")
    try:
        unspecified = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return  # a host name
    if unspecified:
        raise ValueError(f"{address!r} means every interface of a machine, which others cannot dial")


def _check_names(source: str, request: JoinRequest) -> None:
    labels = [("network", request.network), ("node", request.name), ("organisation", request.org)]
    labels += [("channel", channel) for channel in request.channels]
    labels += [("identity", each.name) for each in request.identity]
    for what, name in labels:
        if not is_label(name):
            _refuse(f"{source}: {what} name {name!r}", "a name is [a-z][a-z0-9-]{0,31}", "Its owner corrects it.")
    for what, listed in (("channels", request.channels), ("identity", [each.name for each in request.identity])):
        if len(set(listed)) != len(listed):
            _refuse(f"{source}: {what}", "an entry stands there twice", "Its owner makes the request again.")
    if request.names is not None:
        for text in msgspec.structs.astuple(request.names):
            if not is_readable(text):
                _refuse(
                    f"{source}: names {text!r}",
                    "a name is 1 to 200 characters without control or direction marks",
                    "Its owner corrects it.",
                )
    if (request.names is not None or request.admin) and not request.channels:
        _refuse(f"{source}: channels", "a new organisation asks for at least one", "Its owner names it: --channel.")
    if (request.names is None) != (not request.admin):
        _refuse(f"{source}: names and admin", "one is there without the other", "Its owner makes the request again.")
    if request.admin and request.admin not in {each.name for each in request.identity}:
        _refuse(
            f"{source}: admin = {request.admin!r}",
            "there is no [[identity]] of that name with a key",
            "Its owner makes the key: dawan-node keys new NAME.",
        )


def _check_addresses(source: str, request: JoinRequest) -> None:
    if not request.addresses:
        _refuse(f"{source}: addresses", "others need at least one to reach the node", "Its owner sets p2p.advertise.")
    for address in request.addresses:
        try:
            check_reachable(address)
        except ValueError as error:
            _refuse(f"{source}: addresses", str(error), "Its owner sets p2p.advertise in node.toml.")


def _check_keys(source: str, request: JoinRequest) -> None:
    keys = [(f"node {request.name}", request.public_key)]
    keys += [(f"identity {each.name}", each.public_key) for each in request.identity]
    for what, text in keys:
        try:
            check_public_key(request.suite, public_key_bytes(text))
        except InvalidKey as error:
            _refuse(f"{source}: public_key of {what}", str(error), "Its owner makes a new key.")
    if len(public_key_bytes(request.consortium)) != 32:
        _refuse(f"{source}: consortium", "a hash is 0x and 64 lower-case digits", "Its owner makes the request again.")


def _check_signatures(source: str, request: JoinRequest) -> None:
    try:
        data = request.signing_bytes()
        held = proves_possession(request.tls_certificate, JOIN_TAG, data, public_key_bytes(request.tls_signature))
    except UntrustedCertificate as error:
        _refuse(f"{source}: ca or certificate", str(error), "Ask its owner for the file again.")
    if not verify(
        request.suite, public_key_bytes(request.public_key), JOIN_TAG, data, public_key_bytes(request.signature)
    ):
        _refuse(
            f"{source}: the signature is not of the node key it names",
            "the file was changed after it was signed, or somebody else wrote it",
            "Ask its owner for the file again, by a way nobody can change it on.",
        )
    if not held:
        _refuse(
            f"{source}: tls_signature is not of the TLS certificate's key",
            "whoever made the request has the certificate, but not its key",
            "Ask the node's owner for the file again.",
        )


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
