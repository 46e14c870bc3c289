"""MLflow pyfunc model that loads a registered bundle; needs Pricestack installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from core.data.catalog import LINK, TEXT, Catalog
from core.data.frame_table import frame_table
from serving.bundle.predictor import LEVELS, Predictor


class BundleModel(PythonModel):
    """A frame with `catalog_content` and, perhaps, `image_link` and the bundle's fields in, each a column; price, 80% interval
    and level of each row out.

    No image is read: there is no folder of them here, and nothing is fetched. Members that look at images answer as for rows
    that have none, whatever `image_link` says.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self._predictor = Predictor(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        texts = model_input[TEXT].fillna("").astype(str).to_numpy(dtype=object)
        columns = self._predictor.facts.table_columns
        given = [each.name for each in columns.fields if each.name in model_input]
        cells = frame_table(model_input[given], "model_input").columns.values() if given else ()
        rows = zip(*cells, strict=True) if given else ([],) * len(texts)
        texts = np.array(
            [
                columns.text_with(text, dict(zip(given, row, strict=True)))
                for text, row in zip(texts, rows, strict=True)
            ],
            dtype=object,
        )
        links = model_input[LINK].fillna("").astype(str) if LINK in model_input else pd.Series([""] * len(texts))
        numbers = np.array([str(number) for number in range(len(texts))], dtype=object)
        answer = self._predictor.predict(Catalog(numbers, texts, links.to_numpy(dtype=object)))
        return pd.DataFrame(
            {
                "predicted_price": answer.prices,
                "low": answer.low,
                "high": answer.high,
                "level": [str(LEVELS[level]) for level in answer.levels],
            },
            index=model_input.index,
        )


mlflow.models.set_model(BundleModel())
