"""The files everything else rests on: node.toml, consortium.toml, the genesis of each channel."""

from __future__ import annotations

from typing import Final

from dawan_node.errors import OperatorError
from dawan_node.node.checkup.finding import Finding, failed, ok
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.verification import check_genesis_files

CHECK: Final = "configuration"


def check_files(patient: Patient) -> list[Finding]:
    """Both files load, and give the genesis files that are there."""
    found = []
    for subject, trouble in (("node.toml", patient.config_trouble), ("consortium.toml", patient.consortium_trouble)):
        found.append(ok(CHECK, subject, "is in order") if trouble is None else failed(CHECK, subject, trouble))
    if patient.consortium is None:
        return found
    try:
        problems = check_genesis_files(patient.home.network, patient.consortium)
    except OperatorError as error:
        problems = [error]
    found += [failed(CHECK, "genesis", problem) for problem in problems]
    if not problems:
        found.append(ok(CHECK, "genesis", f"{len(patient.consortium.channels)} channels as in consortium.toml"))
    return found
