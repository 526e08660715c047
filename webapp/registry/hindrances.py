"""Why something cannot be done now, as a sentence for people; empty: it can.

Pages ask before they offer it; services.py asks again with the model's row locked, and that answer counts.
"""

from webapp.registry import queries
from webapp.registry.models import Rollout, ScoringModel, Version

Role, State = Version.Role, Version.State


def promoting(version: Version) -> str:
    if version.role == Role.CHAMPION:
        return f"Version {version.name} serves already."
    return _another_loads(version.model) or _is_not_ready(version)


def trying(version: Version, role: Version.Role) -> str:
    """role: what it shall be, canary or shadow; it may be so already, and get another share."""
    if why := _another_loads(version.model):
        return why
    if version.role not in {Role.NONE, Role.SHADOW, role}:
        return f"Version {version.name} is the {_role_of(version)}; it cannot be tried."
    if why := _is_not_ready(version):
        return why
    in_role = queries.by_role(version.model)
    if (other := in_role.get(role)) and other.pk != version.pk:
        return f"Version {other.name} is the {role.label.lower()} already. End that first."
    if Role.CHAMPION not in in_role:
        return f"No version of {version.model} serves yet, so there is nothing to try another beside. Promote one."
    return ""


def ending(model: ScoringModel, role: Version.Role) -> str:
    """role: canary or shadow."""
    return "" if model.versions.filter(role=role).exists() else f"No {role.label.lower()} is running."


def checking(version: Version) -> str:
    if version.state == State.CHECKING:
        return f"Version {version.name} is being checked already."
    if version.role:
        return f"Version {version.name} is the model’s {_role_of(version)}, so it cannot be checked now."
    if version.artifact_deleted_at:
        return f"The files of version {version.name} are deleted. Register it again as a new version."
    return _another_loads(version.model)


def retiring(version: Version) -> str:
    name = version.name
    if version.state == State.RETIRED:
        return f"Version {name} is retired already."
    if version.role == Role.CHAMPION:
        return f"Version {name} answers all requests. Promote another version first."
    if version.role == Role.CANARY:
        return f"Version {name} is the canary. End the canary first."
    if version.state == State.CHECKING:
        return f"Version {name} is being checked. Wait until the check has ended."
    if version.rollouts.filter(state=Rollout.State.LOADING).exists():
        return f"Version {name} is being promoted. Cancel the promotion first."
    return ""


def deleting_files(version: Version) -> str:
    if version.artifact_deleted_at:
        return f"The files of version {version.name} are deleted already."
    if version.state != State.RETIRED:
        return f"Version {version.name} is not retired. Retire it first."
    return ""


def rolling_back(model: ScoringModel) -> str:
    return "" if queries.standby_of(model) else "There is no version before it to go back to. Promote one instead."


def _another_loads(model: ScoringModel) -> str:
    rollout = queries.running_rollout(model)
    if rollout and rollout.state == Rollout.State.LOADING:
        return f"Version {rollout.version.name} is being promoted. Wait for it, or cancel it first."
    return ""


def _is_not_ready(version: Version) -> str:
    why = {
        State.REGISTERED: "has not been checked. Check it first.",
        State.CHECKING: "is being checked. Wait until it has passed.",
        State.FAILED: f"failed: {version.reason} Check it again, or register another.",
        State.RETIRED: "is retired. Check it again first, if its files are still there.",
    }
    return f"Version {version.name} {why[State(version.state)]}" if version.state in why else ""


def _role_of(version: Version) -> str:
    return version.get_role_display().lower()
