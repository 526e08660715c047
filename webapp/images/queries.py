from collections.abc import Sequence

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage

from webapp.errors import NotFound, ScoringUnavailable
from webapp.registry.queries import without_champion
from webapp.scoring.answers import ModelInfo
from webapp.scoring.client import scoring_client

SAMPLES = settings.BASE_DIR / "frontend" / "img" / "samples"
NO_MODEL = "No image model is there right now. Its pods are starting or gone; try again in a moment."


def image_models() -> list[ModelInfo]:
    """The image models, the one to offer first at the front: ready before starting, real before sample.

    Those that pods have only so that their first version can be checked are nobody's to ask yet. Raises
    ScoringUnavailable when no pod can say which there are.
    """
    known = scoring_client().models_of("image")
    models = known.of_kind("image")
    unserved = without_champion(model.name for model in models if not model.ready)
    offered = (model for model in models if model.name not in unserved)
    found = sorted(offered, key=lambda model: (not model.ready, model.sample, model.name))
    if not found:
        raise ScoringUnavailable(" ".join(known.unreachable) or NO_MODEL, retry_after=5)
    return found


def image_model(name: str | None) -> ModelInfo:
    """The model of that name, or the one to offer first. Raises NotFound, or ScoringUnavailable."""
    return chosen(image_models(), name)


def chosen(models: Sequence[ModelInfo], name: str | None) -> ModelInfo:
    """The model of that name among these, or the first. Raises NotFound."""
    if not name:
        return models[0]
    for model in models:
        if model.name == name:
            return model
    raise NotFound(f"There is no image model {name!r}. There are: {', '.join(model.name for model in models)}.")


def samples_for(model: ModelInfo) -> list[dict[str, str]]:
    """Sample pictures that the model can name, each {"name", "url"}: digits for the sample model, else photos."""
    folder = "digits" if model.sample else "photos"
    return [
        {"name": path.name, "url": staticfiles_storage.url(f"img/samples/{folder}/{path.name}")}
        for path in sorted((SAMPLES / folder).glob("*.*"))
    ]
