"""The warehouse: dbt on one DuckDB file, and the audiences published from it.

Plain Python; orchestration stands on top of it.
"""

from dagster_project.warehouse.command import environment, run_dbt

__all__ = ["environment", "run_dbt"]
