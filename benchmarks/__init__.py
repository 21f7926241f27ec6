"""Measurements that stand outside the package."""
