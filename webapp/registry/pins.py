"""Asking for a version by name."""

from webapp.errors import InvalidInput, NotAllowed
from webapp.keys.models import Scope
from webapp.keys.principal import Principal
from webapp.registry.queries import pinnable


def require_pinnable(model: str, version: str, who: Principal) -> None:
    """Raises NotAllowed without the scope, and InvalidInput for a version that the pods do not keep loaded."""
    if Scope.PIN not in who.scopes:
        raise NotAllowed(f"To ask for a version needs a key with the scope `{Scope.PIN.value}`.")
    known = pinnable(model)
    if version in known:
        return
    remedy = f"Ask for {' or '.join(known)}, or leave the field out." if known else "Leave the field out."
    raise InvalidInput(f"Version {version} of {model} is not loaded. {remedy}", field="version")
