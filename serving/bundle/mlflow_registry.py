"""MLflow model registry: registers a bundle as a pyfunc model."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema
from mlflow.utils.autologging_utils.logging_and_warnings import MlflowEventsAndWarningsBehaviorGlobally

from core.data.catalog import LINK, TEXT
from core.errors import UserError, some
from serving.bundle.bundle import Bundle, BundleFacts

EXPERIMENT = "pricestack-bundles"
_CODE = Path(__file__).with_name("pyfunc_model.py")
_ANSWERS = (
    ("predicted_price", DataType.double),
    ("low", DataType.double),
    ("high", DataType.double),
    ("level", DataType.string),
)
_QUIETLY = MlflowEventsAndWarningsBehaviorGlobally(
    reroute_warnings=False, disable_event_logs=True, disable_warnings=True
)
"""Without MLflow's account of its own steps (tables, copied files, versions); what fails is raised all the same."""


def register(bundle: Bundle, uri: str) -> str:
    """The name of the new version, as `mlflow.pyfunc.load_model` takes it: `models:/shop/3`.

    The model is logged as code and files, without a pickle. Links may be of any type: a column without any is of numbers to
    pandas, all NaN. Raises UserError where MLflow cannot be written to.
    """
    optional = [LINK, *(each.name for each in bundle.facts.table_columns.fields if each.name not in (TEXT, LINK))]
    signature = ModelSignature(
        Schema([ColSpec(DataType.string, TEXT), *(ColSpec(AnyType(), name, required=False) for name in optional)]),
        Schema([ColSpec(kind, name) for name, kind in _ANSWERS]),
    )
    mlflow.set_tracking_uri(uri)
    try:
        with _QUIETLY, mlflow.start_run(run_name=bundle.folder.name, experiment_id=_experiment(uri)):
            logged = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(_CODE),
                artifacts={"bundle": str(bundle.folder)},
                signature=signature,
                registered_model_name=bundle.name,
                pip_requirements=[],
                metadata={"version": bundle.version},
            )
    except MlflowException as error:
        raise UserError(
            f"MLflow cannot be written to: {error.message}",
            code="registry-unwritable",
            hint="mend --mlflow, or leave --register out",
        ) from None
    return f"models:/{bundle.name}/{logged.registered_model_version}"


def image_notes(facts: BundleFacts) -> list[str]:
    """Notes where members read images, which are missing where MLflow runs the model (`serving.bundle.pyfunc_model`)."""
    readers = some(facts.image_readers)
    return (
        [f"what is registered reads no pictures: {readers} will answer as for rows that have none"] if readers else []
    )


def _experiment(uri: str) -> str:
    """Its id; made where it is not there. Artifacts lie beside a database file: MLflow would put them where one stands."""
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    file = uri.removeprefix("sqlite:///")
    place = (Path(file).resolve().parent / "mlartifacts").as_uri() if file != uri else None
    return str(mlflow.create_experiment(EXPERIMENT, artifact_location=place))
