"""``python -m dagster_project.cli``: the command without its script."""

from dagster_project.cli.main import main

main()
