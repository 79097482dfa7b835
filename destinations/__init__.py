"""Storeroom's destinations: the adapter language, the catalog, and the sync engine."""
