"""Running it beside other things: metrics, upkeep, backup. All from what lies on disk."""
