"""Dagster: the only room that imports it. Assets, checks, sensors and schedules over `refresh`."""
