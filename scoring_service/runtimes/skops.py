"""Any estimator of scikit-learn from a skops file, which unlike a pickle makes objects of known types only."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from scoring_service import tensors
from scoring_service.contract import Manifest
from scoring_service.errors import BadRow, VersionUnusable
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

X = "x"
# Types of scikit-learn's own that skops does not count among the harmless, but that hold data and call nothing. Not
# among them: KDTree and BallTree, whose compiled code believes what is in the file.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "numpy.mean",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
LEAF = -1  # in the place of a child
# What gives an output, in this order, where the estimator has it.
METHODS = ("predict", "predict_proba", "transform")


class Estimator:
    """An estimator; each output of its signature is the method of that name."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator = estimator
        self.signature = signature
        self.parameters: dict[str, Any] = {}
        if (classes := getattr(estimator, "classes_", None)) is not None and isinstance(classes, np.ndarray):
            self.parameters["classes"] = ",".join(map(str, classes))

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        return tensors.score(self._run, self.signature, rows)

    def light(self, rows: Sequence[Row]) -> bool:
        return False

    def close(self) -> None:
        """Lets go of the estimator."""
        self._estimator = None

    def _run(self, columns: list[tensors.Array]) -> Sequence[tensors.Array]:
        given = columns[0] if len(columns) == 1 else np.column_stack(columns)
        outputs = []
        for spec in self.signature.outputs:
            output = getattr(self._estimator, spec.name)(given)
            outputs.append(output.toarray() if hasattr(output, "toarray") else np.asarray(output))
        return outputs


def load(directory: Path, manifest: Manifest) -> Estimator:
    """The version's estimator. Raises VersionUnusable with the names of types that are not known to be harmless."""
    path = tensors.model_file(directory, manifest, default="model.skops")
    try:
        held = set(skops.io.get_untrusted_types(file=path))
        if untrusted := held - TRUSTED:
            raise VersionUnusable(
                f"{path.name} holds types that are not known to be harmless: {', '.join(sorted(untrusted))}"
            )
        estimator = skops.io.load(path, trusted=sorted(held))
        check_trees(estimator)
    except VersionUnusable:
        raise
    except Exception as error:  # a damaged file may fail in any way
        raise VersionUnusable(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    methods = [name for name in METHODS if callable(getattr(estimator, name, None))]
    signature = tensors.signature_of(manifest, inputs=[_input(estimator)], outputs=_outputs(estimator, methods))
    for spec in signature.outputs:
        if spec.name not in methods:
            raise VersionUnusable(
                f"it has no method {spec.name!r}; of {', '.join(METHODS)} it has {', '.join(methods)}"
            )
    return Estimator(estimator, signature)


def check_trees(estimator: Any) -> None:
    """Raises VersionUnusable for a decision tree that leads out of itself: its compiled code would follow it there."""
    seen: set[int] = set()
    left: list[tuple[Any, int]] = [(estimator, 0)]
    while left:
        each, features = left.pop()
        if id(each) in seen or isinstance(each, str | bytes | int | float | None):
            continue
        seen.add(id(each))
        features = getattr(each, "n_features_in_", features)
        if not is_sound(each, features):
            raise VersionUnusable("it holds a decision tree whose nodes make no sense")
        parts: Iterable[Any] = ()
        if isinstance(each, dict):
            parts = each.values()
        elif isinstance(each, list | tuple | set):
            parts = each
        elif isinstance(each, np.ndarray):
            parts = each.ravel() if each.dtype == object else ()
        elif hasattr(each, "__dict__"):
            parts = vars(each).values()
        left.extend((part, features) for part in parts)


def is_sound(part: Any, features: int) -> bool:
    """Whether all nodes of a tree have their children behind them, and look at one of so many features."""
    if type(part) is Tree:
        inner = np.flatnonzero(part.children_left != LEAF)
        children, asked = (part.children_left, part.children_right), part.feature[inner]
        leaves_agree = np.array_equal(inner, np.flatnonzero(part.children_right != LEAF))
        count = part.node_count
    elif type(part) is TreePredictor:
        nodes = part.nodes
        inner = np.flatnonzero(nodes["is_leaf"] == 0)
        children, asked = (nodes["left"].astype(int), nodes["right"].astype(int)), nodes["feature_idx"][inner]
        sets = nodes["bitset_idx"][inner][nodes["is_categorical"][inner] != 0]
        leaves_agree = bool(np.all(sets < len(part.raw_left_cat_bitsets)))
        count = len(nodes)
    else:
        return True
    inside = all(bool(np.all((side[inner] > inner) & (side[inner] < count))) for side in children)
    return count > 0 and leaves_agree and inside and bool(np.all((asked >= 0) & (asked < features)))


def _input(estimator: Any) -> TensorSpec:
    """Numbers, as many as it was trained with; a text where it has no such number."""
    features = getattr(estimator, "n_features_in_", None)
    return TensorSpec(X, "BYTES", (-1,)) if features is None else TensorSpec(X, "FP64", (-1, int(features)))


def _outputs(estimator: Any, methods: Sequence[str]) -> list[TensorSpec]:
    classes = getattr(estimator, "classes_", None)
    specs = []
    for name in methods:
        if name == "predict":
            specs.append(TensorSpec(name, _labels(estimator, classes), (-1,)))
        elif name == "predict_proba" and isinstance(classes, np.ndarray):
            specs.append(TensorSpec(name, "FP64", (-1, len(classes))))
        elif name == "transform" and "predict" not in methods:
            specs.append(TensorSpec(name, "FP64", (-1, -1)))
    return specs


def _labels(estimator: Any, classes: Any) -> str:
    if classes is None:  # of a regressor numbers, of a clustering the number of a cluster
        return (
            "INT64"
            if getattr(estimator, "_estimator_type", "") == "clusterer" or hasattr(estimator, "labels_")
            else "FP64"
        )
    dtype = np.asarray(classes).dtype
    return {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FP64"}.get(dtype.kind, "BYTES")
