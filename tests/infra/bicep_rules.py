"""The rules to which the deployment template is held: their list, and what several of them need.

A rule says in words what it finds wrong, and nothing where all is well. The rules themselves stand
by subject in ``bicep_wholeness``, ``bicep_posture`` and ``bicep_agreement``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from tests.infra.bicep import Json, Template, at

type Rule = Callable[[Template], Iterator[str]]

RULES: dict[str, Rule] = {}

MAIN = "infra/main.bicep"
APP = "infra/modules/app.bicep"
STORAGE = "infra/modules/storage.bicep"
VAULT = "infra/modules/vault.bicep"
ROLES = "infra/modules/roles.bicep"
NETWORK = "infra/modules/network.bicep"
MONITORING = "infra/modules/monitoring.bicep"
REGISTRATION = "infra/modules/registration.bicep"

SECRET_NAME = re.compile(
    r"secret|password|passphrase|connection_?string|access_?key|api_?key|webhook_?keys|instrumentation_?key|sas_?token|credential",
    re.IGNORECASE,
)


def rule(check: Rule) -> Rule:
    """Enter a rule into the list, under its name."""
    RULES[check.__name__] = check
    return check


def app_settings(template: Template) -> Mapping[str, Json]:
    """Return all app settings, those of the options included, as the template writes them."""
    file = template.file(APP)
    parts = [
        at(variable, "value")
        for name, variable in file.section("variables").items()
        if name.endswith("Settings")
    ]
    return {
        name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()
    }


def decorator_of(declaration: Mapping[str, Json], kind: str) -> Json:
    """Return the argument of a decorator; None where there is none."""
    decorators = cast("list[Json]", declaration["decorators"])
    return next(
        (at(decorator, "argument") for decorator in decorators if at(decorator, "type") == kind),
        None,
    )
