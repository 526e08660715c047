"""What a person has used of their plan, for the account page: accounts itself knows nothing of limits."""

from typing import Any

from django import template

from webapp.accounts.models import User
from webapp.accounts.plans import limits_of
from webapp.keys import limits
from webapp.keys.month_use import month_of

register = template.Library()


@register.inclusion_tag("accounts/_month_use.html")
def month_use(user: User) -> dict[str, Any]:
    """What the person may use in a minute and has used in this month, all their keys and the pages together."""
    standing = limits.month_standing(user)
    return {
        "begins": month_of().begins,
        "next_begins": month_of().ends_at,
        "used": [("Requests", standing["requests"]["user"]), ("Questions and pictures", standing["rows"]["user"])],
        "minute": limits_of(user).per_user,
    }


@register.simple_tag
def plan_of(user: User) -> str:
    """The name of the person's plan, "" without one."""
    return limits_of(user).plan
