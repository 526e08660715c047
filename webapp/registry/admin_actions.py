"""What an operator can do with a model, each behind a page that says precisely what will happen.

A confirmation is worked out from the rows and the pods as they are when it is shown. Whether it may still be done is
decided by services.py at the moment of the click; what no longer fits comes back as a message on the model's page.
"""

from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property

from webapp.errors import Conflict, InvalidInput
from webapp.registry import hindrances, queries, services
from webapp.registry.admin_base import ModelView, VersionView, add_errors, may
from webapp.registry.forms import (
    CanaryForm,
    CancelForm,
    PromoteForm,
    ReasonForm,
    RetireForm,
    RollBackForm,
    ShadowForm,
)
from webapp.registry.models import Rollout, Version
from webapp.scoring.fleet import PodView, pods
from webapp.templatetags.ui import byte_size

Role, State = Version.Role, Version.State


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What a person reads before they decide. effects: in the order they happen; undo: how to get back, if at all."""

    title: str
    button: str
    effects: list[str]
    warnings: list[str] = field(default_factory=list)
    undo: str = ""
    danger: bool = False


class ActionView(ModelView):
    """GET asks, POST does. A conflict is a message on the page it leads back to, and nothing has happened."""

    permission = "operate_scoringmodel"
    form_class: type[forms.Form] = ReasonForm

    def confirmation(self) -> Confirmation:
        raise NotImplementedError

    def act(self, values: dict[str, Any]) -> str:
        """Does it; the sentence that says so. Raises Conflict or InvalidInput."""
        raise NotImplementedError

    def hindrance(self) -> str:
        """Why there is nothing to confirm; empty when there is."""
        return ""

    def form_options(self) -> dict[str, Any]:
        return {}

    def back(self) -> str:
        """The address of the page that it began on and that shows what came of it."""
        return reverse("models:model", args=[self.model.name])

    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        if hindrance := self.hindrance():
            messages.info(request, hindrance)
            return redirect(self.back())
        return self._ask(self.form_class(**self.form_options()))

    def post(self, request: HttpRequest, **_names: str) -> HttpResponse:
        form = self.form_class(request.POST, **self.form_options())
        if not form.is_valid():
            return self._ask(form, status=422)
        try:
            messages.success(request, self.act(form.cleaned_data))
        except InvalidInput as error:
            add_errors(form, error)
            return self._ask(form, status=422)
        except Conflict as error:
            messages.error(request, error.detail)
        return redirect(self.back())

    def _ask(self, form: forms.Form, *, status: int = 200) -> HttpResponse:
        confirmation = self.confirmation()
        return self.page(
            "admin/registry/confirm.html",
            {"title": confirmation.title, "confirmation": confirmation, "form": form, "back": self.back()},
            status=status,
        )

    # What the sentences are made of ----------------------------------------------------------------------------------

    @cached_property
    def ready(self) -> list[PodView]:
        """The pods that are ready, as they are now."""
        return [pod for pod in pods(self.model.pool) if pod.ready]

    @property
    def pool(self) -> str:
        """ "CPU" or "GPU", as people read it."""
        return self.model.pool.upper()

    def ready_pods(self) -> str:
        """ "the CPU pod", "both CPU pods", "all 3 CPU pods": those that are ready."""
        count = len(self.ready)
        return {1: f"the {self.pool} pod", 2: f"both {self.pool} pods"}.get(count, f"all {count} {self.pool} pods")

    def holding(self, version: str) -> int:
        """How many of the ready pods have that version loaded and warm."""
        found = (pod.version(self.model.name, version) for pod in self.ready)
        return sum(each is not None and each.state == "READY" for each in found)

    def in_role(self, role: Version.Role) -> Version | None:
        return self.model.versions.filter(role=role).first()

    def loading_rollout(self) -> Rollout | None:
        """The promotion for which pods still load a version."""
        return self.model.rollouts.filter(state=Rollout.State.LOADING).select_related("version").first()


class VersionAction(VersionView, ActionView):
    """What is done with one version."""

    def loading(self, meanwhile: str) -> str:
        """How the version gets into the pods, and what it needs there. meanwhile: what callers get until then."""
        name = self.version.name
        if not self.ready:
            return (
                f"As soon as a {self.pool} pod is ready, it loads version {name}, verifies its files and warms it up."
            )
        if self.holding(name) == len(self.ready):
            return f"Version {name} is loaded and warm on {self.ready_pods()} already."
        single = len(self.ready) == 1
        load, verify, warm = ("loads", "verifies", "warms") if single else ("load", "verify", "warm")
        pods, memory = self.ready_pods(), self._needed()
        way = f"{load} version {name}, {verify} its files and {warm} it up; {meanwhile} meanwhile."
        needs = f" It needs about {byte_size(memory)} of memory{'' if single else ' on each'}." if memory else ""
        return f"{pods[0].upper()}{pods[1:]} {way}{needs}"

    def pod_warnings(self) -> list[str]:
        """What about the pods speaks against it right now."""
        if not self.ready:
            return [f"No {self.pool} pod is ready right now."]
        free = [pod.memory_limit - pod.memory for pod in self.ready if pod.memory_limit and not self._is_loaded(pod)]
        if not free or min(free) >= self._needed():
            return []
        needs = f"Version {self.version.name} needs about {byte_size(self._needed())} of memory"
        left = f"the fullest {self.pool} pod has {byte_size(max(0, min(free)))} left"
        return [f"{needs}, and {left}. It will probably be refused there."]

    def _is_loaded(self, pod: PodView) -> bool:
        found = pod.version(self.model.name, self.version.name)
        return found is not None and found.state == "READY"

    def _needed(self) -> int:
        """Bytes of memory, as the manifest says, and at least as many as its files have."""
        return max(int(self.version.manifest.get("memory") or 0), self.version.size)


class Promote(VersionAction):
    form_class = PromoteForm

    def hindrance(self) -> str:
        return hindrances.promoting(self.version)

    def form_options(self) -> dict[str, Any]:
        return {"needs_reason": bool(self._against())}

    def _against(self) -> list[str]:
        """What speaks against it, so that a reason is asked for."""
        return queries.worse_than_champion(self.version)

    def confirmation(self) -> Confirmation:
        champion, standby = self.in_role(Role.CHAMPION), self.in_role(Role.STANDBY)
        name = self.version.name
        serving = f"version {champion.name} answers" if champion else "no version answers yet"
        effects = [
            self.loading(serving),
            f"{self._switching()} No request fails or waits for it.",
        ]
        if champion:
            unloaded = ""
            if standby and standby != self.version:
                unloaded = f" Version {standby.name}, the standby until now, is unloaded and stays ready."
            effects.append(f"Version {champion.name} stays loaded as the standby, for a rollback.{unloaded}")
        effects += self._trials_that_end(champion)
        stays = f"version {champion.name} serves on" if champion else "nothing else changes"
        effects.append(f"If a pod cannot load version {name}, {stays} and version {name} is marked as failed.")
        return Confirmation(
            title=f"Promote version {name} of {self.model.label}?",
            button=f"Promote version {name}",
            effects=effects,
            warnings=[*self._against(), *self.pod_warnings()],
            undo="Until the pods switch you can cancel; afterwards you can roll back in seconds."
            if champion
            else "Until the pods switch you can cancel.",
        )

    def _switching(self) -> str:
        if len(self.ready) == 1:
            return f"As soon as it has it, it answers with version {self.version.name}."
        return f"As soon as each has it, all switch to version {self.version.name} together."

    def _trials_that_end(self, champion: Version | None) -> list[str]:
        against = f" It was compared with version {champion.name}." if champion else ""
        ends = []
        if canary := self.in_role(Role.CANARY):
            own = canary == self.version
            ends.append(
                f"Its canary ends: it answers all requests then, not {canary.percent} % of them."
                if own
                else f"The canary of version {canary.name} ({canary.percent} %) ends.{against}"
            )
        if shadow := self.in_role(Role.SHADOW):
            own = shadow == self.version
            ends.append(
                "Its shadow ends: its answers are the real ones then."
                if own
                else f"The shadow of version {shadow.name} ({shadow.percent} %) ends.{against}"
            )
        return ends

    def act(self, values: dict[str, Any]) -> str:
        services.promote(self.version, by=self.person, reason=values["reason"])
        return f"The promotion of version {self.version.name} has begun. This page shows how far each pod is."


class Canary(VersionAction):
    form_class = CanaryForm

    def hindrance(self) -> str:
        return hindrances.trying(self.version, Role.CANARY)

    def form_options(self) -> dict[str, Any]:
        return {"initial": {"percent": self.version.percent or 10}}

    def confirmation(self) -> Confirmation:
        name, champion = self.version.name, self.in_role(Role.CHAMPION)
        champion_name = champion.name if champion else "–"
        running = self.version.role == Role.CANARY
        share = (
            f"The share you choose of the requests that name no version is answered by version {name}, the others by "
            f"version {champion_name}. A person or API key always gets the same of the two."
        )
        if running:
            effects = [share, "Its figures so far are kept and go on."]
        else:
            effects = [self.loading(f"version {champion_name} answers all requests"), share]
        if self.version.role == Role.SHADOW:
            effects.append("Its shadow ends.")
        effects.append(
            f"It ends by itself when its rate of errors is clearly more than {self.model.error_factor:g} times that of "
            f"version {champion_name}; or, once each has answered {self.model.least_requests:,} requests, when its "
            f"95th percentile of latency is more than {self.model.latency_factor:g} times as long."
        )
        return Confirmation(
            title=f"Change the share of version {name}?" if running else f"Start a canary with version {name}?",
            button="Change the share" if running else "Start the canary",
            effects=effects,
            warnings=[] if running else self.pod_warnings(),
            undo=f"You can end it at any time; version {champion_name} then answers everything again at once.",
        )

    def act(self, values: dict[str, Any]) -> str:
        running = self.version.role == Role.CANARY
        services.start_canary(self.version, values["percent"], by=self.person, reason=values["reason"])
        if running:
            return f"Version {self.version.name} now answers {values['percent']} % of the requests."
        return (
            f"Version {self.version.name} answers {values['percent']} % of the requests once the pods have loaded it."
        )


class Shadow(VersionAction):
    form_class = ShadowForm

    def hindrance(self) -> str:
        return hindrances.trying(self.version, Role.SHADOW)

    def form_options(self) -> dict[str, Any]:
        return {"initial": {"percent": self.version.percent or 20}}

    def confirmation(self) -> Confirmation:
        name, champion = self.version.name, self.in_role(Role.CHAMPION)
        champion_name = champion.name if champion else "–"
        running = self.version.role == Role.SHADOW
        share = (
            f"The share you choose of the requests that version {champion_name} has answered is scored again by "
            f"version {name}, in the background. Callers get version {champion_name}’s answer and wait for nothing."
        )
        kept = (
            "What is kept of each: whether both put the same answer first, and how far their probabilities lie apart. "
            "Questions and pictures are not kept."
        )
        if running:
            effects = [share, kept, "Its comparisons so far are kept and go on."]
        else:
            effects = [self.loading(f"version {champion_name} answers"), share, kept]
        return Confirmation(
            title=f"Change the share of version {name}?" if running else f"Let version {name} shadow {champion_name}?",
            button="Change the share" if running else "Start the shadow",
            effects=effects,
            warnings=[] if running else self.pod_warnings(),
            undo="You can end it at any time. No caller notices either.",
        )

    def act(self, values: dict[str, Any]) -> str:
        services.start_shadow(self.version, values["percent"], by=self.person, reason=values["reason"])
        return f"Version {self.version.name} scores {values['percent']} % of the requests again."


class CheckAgain(VersionAction):
    form_class = forms.Form

    def back(self) -> str:
        return reverse("models:version", args=[self.model.name, self.version.name])

    def hindrance(self) -> str:
        return hindrances.checking(self.version)

    def confirmation(self) -> Confirmation:
        name, champion = self.version.name, self.in_role(Role.CHAMPION)
        serving = f"version {champion.name} answers" if champion else "nothing else changes"
        effects = [
            "The SHA-256 of each file is compared with the manifest.",
            self.loading(serving),
            "Its smoke inputs are scored: those that it must be able to answer.",
        ]
        if count := self.model.evaluation_count:
            beside = f" beside version {champion.name}" if champion else ""
            effects.append(f"The {count:,} inputs of the evaluation set are scored{beside}, and the answers measured.")
        else:
            effects.append("Nothing is measured: this model has no evaluation set.")
        effects.append("Until it has passed, it cannot be promoted. If it fails, the reason stands on its page.")
        return Confirmation(
            title=f"Check version {name} of {self.model.label}?",
            button="Start the check",
            effects=effects,
            warnings=self.pod_warnings(),
            undo="What serves does not change, whatever comes of it.",
        )

    def act(self, values: dict[str, Any]) -> str:
        services.start_check(self.version, by=self.person)
        return f"The check of version {self.version.name} has started."


class Retire(VersionAction):
    form_class = RetireForm

    def hindrance(self) -> str:
        return hindrances.retiring(self.version)

    def form_options(self) -> dict[str, Any]:
        return {"may_delete": may(self.request, "delete_artifact")}

    def confirmation(self) -> Confirmation:
        name = self.version.name
        effects = [
            f"Pods unload version {name} once its last request is answered. No API key can ask for it any more."
            if self.version.role
            else "It can no longer be promoted or tried. What serves does not change."
        ]
        if self.version.role == Role.STANDBY:
            effects.append("It is the standby: until the next promotion there is nothing to roll back to.")
        elif self.version.role == Role.SHADOW:
            effects.append(f"Its shadow ({self.version.percent} %) ends.")
        effects += [
            f"Its files ({byte_size(self.version.size)}) stay in the model store, unless you choose to delete them.",
            "Its history stays for ever.",
        ]
        return Confirmation(
            title=f"Retire version {name} of {self.model.label}?",
            button=f"Retire version {name}",
            effects=effects,
            undo="With its files kept, another check makes it ready again. Deleted files do not come back.",
            danger=True,
        )

    def act(self, values: dict[str, Any]) -> str:
        delete = values.get("delete_artifact", False)
        services.retire(self.version, by=self.person, reason=values["reason"], delete_artifact=delete)
        return f"Version {self.version.name} is retired{' and its files are deleted' if delete else ''}."


class DeleteArtifact(VersionAction):
    permission = "delete_artifact"

    def hindrance(self) -> str:
        return hindrances.deleting_files(self.version)

    def confirmation(self) -> Confirmation:
        return Confirmation(
            title=f"Delete the files of version {self.version.name}?",
            button="Delete the files",
            effects=[
                f"{byte_size(self.version.size)} are deleted from the model store.",
                "The version’s page, its checks and its history stay.",
            ],
            undo="This cannot be undone. To use it again, it has to be uploaded as a new version.",
            danger=True,
        )

    def act(self, values: dict[str, Any]) -> str:
        services.delete_artifact(self.version, by=self.person, reason=values["reason"])
        return f"The files of version {self.version.name} are deleted."


class RollBack(ActionView):
    form_class = RollBackForm

    def hindrance(self) -> str:
        return hindrances.rolling_back(self.model)

    def form_options(self) -> dict[str, Any]:
        standby = self.in_role(Role.STANDBY)
        return {"initial": {"version": standby.name if standby else ""}}

    def confirmation(self) -> Confirmation:
        champion, standby = self.in_role(Role.CHAMPION), self.in_role(Role.STANDBY)
        old, new = (each.name if each else "–" for each in (champion, standby))
        ready, holding = len(self.ready), self.holding(new)
        loaded = f"It is loaded on {self.ready_pods()}, so this takes about a second."
        if holding < ready:
            loaded = f"It is loaded on {holding} of {ready} ready {self.pool} pods."
        elif not ready:
            loaded = f"No {self.pool} pod is ready right now; those that come up begin with it."
        effects = [
            f"Version {new} answers all requests again. {loaded} No request fails or waits for it.",
            f"Version {old} stays ready and is unloaded once its last request is answered.",
        ]
        if rollout := self.loading_rollout():
            effects.append(f"The promotion of version {rollout.version.name}, which pods are loading, is cancelled.")
        for role, word in ((Role.CANARY, "canary"), (Role.SHADOW, "shadow")):
            if trial := self.in_role(role):
                effects.append(f"The {word} of version {trial.name} ({trial.percent} %) ends.")
        warnings = []
        if holding < ready:
            warnings = [f"{ready - holding} of {ready} ready pods have to load version {new} first."]
        return Confirmation(
            title=f"Roll {self.model.label} back to version {new}?",
            button=f"Roll back to version {new}",
            effects=effects,
            warnings=warnings,
            undo=f"To have version {old} back, promote it again.",
        )

    def act(self, values: dict[str, Any]) -> str:
        rollout = services.roll_back(self.model, by=self.person, reason=values["reason"], expected=values["version"])
        return f"Rolled back to version {rollout.version.name}. This page shows how far each pod is."


class CancelRollout(ActionView):
    form_class = CancelForm

    def hindrance(self) -> str:
        return "" if self.loading_rollout() else "There is no promotion under way that could be cancelled."

    def form_options(self) -> dict[str, Any]:
        rollout = self.loading_rollout()
        return {"initial": {"rollout": rollout.pk if rollout else None}}

    def confirmation(self) -> Confirmation:
        rollout, champion = self.loading_rollout(), self.in_role(Role.CHAMPION)
        name = rollout.version.name if rollout else "–"
        stays = f"Version {champion.name} serves on, as it does now." if champion else "Nothing serves, as it is now."
        return Confirmation(
            title=f"Cancel the promotion of version {name}?",
            button="Cancel the promotion",
            effects=[stays, f"Pods that have loaded version {name} unload it. It stays ready."],
            undo="You can promote it again at any time.",
        )

    def act(self, values: dict[str, Any]) -> str:
        rollout = self.loading_rollout()
        if rollout is None or values["rollout"] not in {None, rollout.pk}:
            raise Conflict("That promotion is no longer loading, so there is nothing to cancel.")
        services.cancel_rollout(rollout, by=self.person)
        return f"The promotion of version {rollout.version.name} is cancelled."


class EndCanary(ActionView):
    def hindrance(self) -> str:
        return hindrances.ending(self.model, Role.CANARY)

    def confirmation(self) -> Confirmation:
        canary, champion = self.in_role(Role.CANARY), self.in_role(Role.CHAMPION)
        name, champion_name = (each.name if each else "–" for each in (canary, champion))
        return Confirmation(
            title=f"End the canary of version {name}?",
            button="End the canary",
            effects=[
                f"Version {champion_name} answers all requests again, from the next one on.",
                f"Version {name} stays ready and is unloaded. Its figures go into the history.",
            ],
            undo="You can start it again; its figures then begin anew.",
        )

    def act(self, values: dict[str, Any]) -> str:
        services.end_canary(self.model, by=self.person, reason=values["reason"])
        return "The canary has ended."


class EndShadow(ActionView):
    def hindrance(self) -> str:
        return hindrances.ending(self.model, Role.SHADOW)

    def confirmation(self) -> Confirmation:
        shadow = self.in_role(Role.SHADOW)
        name = shadow.name if shadow else "–"
        return Confirmation(
            title=f"End the shadow of version {name}?",
            button="End the shadow",
            effects=[f"No more requests are scored again. Version {name} stays ready and is unloaded."],
            undo="You can start it again; its comparisons then begin anew.",
        )

    def act(self, values: dict[str, Any]) -> str:
        services.end_shadow(self.model, by=self.person, reason=values["reason"])
        return "The shadow has ended."


ON_A_VERSION: dict[str, type[VersionAction]] = {
    "promote": Promote,
    "canary": Canary,
    "shadow": Shadow,
    "check": CheckAgain,
    "retire": Retire,
    "delete-artifact": DeleteArtifact,
}
ON_A_MODEL: dict[str, type[ActionView]] = {
    "roll-back": RollBack,
    "cancel": CancelRollout,
    "end-canary": EndCanary,
    "end-shadow": EndShadow,
}
