"""The command ``storeroom``: a thin face over the same functions that Dagster runs."""
