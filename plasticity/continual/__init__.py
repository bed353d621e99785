"""Forgetting: streams of tasks, runs over them, metrics and reports."""
