"""Models that not everybody may know of. Which, say the apps that hide something of their own from some people."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from webapp.accounts.models import User
from webapp.registry.overview import Overview
from webapp.scoring.fleet import PodView

Hides = Callable[[User], Iterable[str]]
_hides: list[Hides] = []


def hide(hides: Hides) -> None:
    """From now on a person is not told of the models whose names `hides` gives for them."""
    _hides.append(hides)


def hidden_from(person: User) -> frozenset[str]:
    """The names of the models that the person is not to be told of."""
    return frozenset(name for hides in _hides for name in hides(person))


def overview_for(person: User, overview: Overview) -> Overview:
    """The overview without a word of the models that the person is not to be told of."""
    hidden = hidden_from(person)
    if not hidden:
        return overview
    return replace(
        overview,
        models=[state for state in overview.models if state.card.model.name not in hidden],
        pods=[_silent_on(pod, hidden) for pod in overview.pods],
    )


def _silent_on(pod: PodView, hidden: frozenset[str]) -> PodView:
    def unless_named(text: str) -> str:
        return "" if any(model in text for model in hidden) else text

    return replace(
        pod,
        versions=[each for each in pod.versions if each.model not in hidden],
        reason=unless_named(pod.reason),
        problem=unless_named(pod.problem),
        store_problem=unless_named(pod.store_problem),
    )
