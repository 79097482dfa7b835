"""Demo data: a plausible shop for any number of people and days."""

from dagster_project.demo.generator import START, DemoDay, generate

__all__ = ["START", "DemoDay", "generate"]
