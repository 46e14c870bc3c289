"""The code that a cluster's workers get."""

from __future__ import annotations

from experiments.execution.ray_pool import staged_code


def test_the_code_that_travels_is_these_packages_and_their_data() -> None:
    with staged_code() as folder:
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["core", "ensemble", "experiments", "reports", "search_spaces"]
        assert (folder / "search_spaces" / "text.yaml").exists()
        assert list((folder / "reports").glob("page/template/*.html"))
        assert not list(folder.rglob("__pycache__"))
    assert not folder.exists()
